# In: tables/*.csv.
# Out: figures/*.{svg,pdf}, tables/table1.{tex,html}, tables/directions.html, by notebooks that
# only draw. A notebook that fails is left, partly run, beside the logs.

DRAWN = ["figure1", "figure2", "figure3", "figure4", "accuracy", "training"] + ["gold"] * HAS_GOLD
CATEGORIES = {
    "figure1": "2 Underspecification",
    "figure2": "2 Underspecification",
    "figure3": "2 Underspecification",
    "figure4": "3 Ensembles",
    "gold": "3 Ensembles",
    "accuracy": "1 Reward models",
    "training": "1 Reward models",
}
TITLES = {
    "figure1": "Figure 1: reward under other reward models",
    "figure2": "Figure 2: agreement",
    "figure3": "Figure 3: variance explained by the reward model",
    "figure4": "Figure 4: reward and win rate by the evaluator",
    "gold": "Gold reward of best-of-n",
    "accuracy": "Held-out accuracy",
    "training": "Training curves",
}
FIGURES = [path for name in DRAWN for path in figure(name)] + table1_files()


for drawn in DRAWN:

    rule:
        name:
            f"draw_{drawn}"
        input:
            notebook=f"reports/notebooks/{drawn}.ipynb",
            table=made(f"tables/{drawn}.csv"),
        output:
            report(
                made(f"figures/{drawn}.svg"),
                caption=f"../reports/captions/{drawn}.rst",
                category=CATEGORIES[drawn],
                labels={"item": TITLES[drawn]},
            ),
            made(f"figures/{drawn}.pdf"),
        log:
            text=made(f"logs/{drawn}.log"),
            notebook=made(f"logs/{drawn}.ipynb"),
        benchmark:
            made(f"benchmarks/{drawn}.tsv")
        localrule: True
        conda:
            ANALYSIS
        params:
            experiment=config["experiment"],
            output=output_stem,
            code=code("underspec/plots"),
        shell:
            "PYTHONPATH=scripts papermill --no-progress-bar {input.notebook} {log.notebook}"
            " -p table {input.table} -p output {params.output}"
            " -p experiment {params.experiment} > {log.text} 2>&1"


rule draw_table1:
    input:
        notebook="reports/notebooks/table1.ipynb",
        table=made("tables/table1.csv"),
        directions=made("tables/directions.csv"),
    output:
        report(
            made("tables/table1.html"),
            caption="../reports/captions/table1.rst",
            category="3 Ensembles",
            labels={"item": "Table 1: ours beside the published"},
        ),
        made("tables/table1.tex"),
        report(
            made("tables/directions.html"),
            caption="../reports/captions/directions.rst",
            category="4 Claims",
            labels={"item": "Directions: every one, and whether it holds here"},
        ),
    log:
        text=made("logs/table1.log"),
        notebook=made("logs/table1.ipynb"),
    benchmark:
        made("benchmarks/table1.tsv")
    conda:
        ANALYSIS
    params:
        experiment=config["experiment"],
        output=output_stem,
        code=code("underspec/plots"),
    shell:
        "PYTHONPATH=scripts papermill --no-progress-bar {input.notebook} {log.notebook}"
        " -p table {input.table} -p directions {input.directions} -p output {params.output}"
        " -p experiment {params.experiment} > {log.text} 2>&1"
