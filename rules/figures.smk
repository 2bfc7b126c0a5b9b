# In: tables/*.csv.
# Out: figures/*.{svg,pdf}, tables/table1.{tex,html}, by notebooks that
# only draw. A notebook that fails is left, partly run, beside the logs.

BIASED = HAS_GOLD and not WORLD.has_preferences and config["labels"]["length_bias"] != 0
DRAWN = ["figure1", "figure2", "figure3", "figure4", "accuracy"] + ["gold"] * HAS_GOLD
DRAWN += ["exact", "components", "shift", "overoptimisation"] + ["bias"] * BIASED
DRAWN += [] if config["bundle"] else ["training"]
CATEGORIES = {
    "figure1": "2 Underspecification",
    "figure2": "2 Underspecification",
    "figure3": "2 Underspecification",
    "figure4": "3 Ensembles",
    "gold": "3 Ensembles",
    "accuracy": "1 Reward models",
    "exact": "4 Beside the paper",
    "components": "4 Beside the paper",
    "shift": "4 Beside the paper",
    "overoptimisation": "4 Beside the paper",
    "bias": "4 Beside the paper",
    "training": "1 Reward models",
}
TITLES = {
    "figure1": "Figure 1: reward under other reward models",
    "figure2": "Figure 2: agreement",
    "figure3": "Figure 3: variance explained by the reward model",
    "figure4": "Figure 4: reward and win rate by the evaluator",
    "gold": "Gold reward of best-of-n",
    "accuracy": "Held-out accuracy",
    "exact": "Exact best-of-n: all orders of the samples",
    "components": "Variance components: pretrain, finetune, post",
    "shift": "Shift: what the chosen texts look like",
    "overoptimisation": "Over-optimisation: reward against the KL",
    "bias": "A shared bias, which ensembles keep",
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
            " -r table {input.table} -r output {params.output}"
            " -r experiment {params.experiment} > {log.text} 2>&1"


rule draw_table1:
    input:
        notebook="reports/notebooks/table1.ipynb",
        table=made("tables/table1.csv"),
    output:
        report(
            made("tables/table1.html"),
            caption="../reports/captions/table1.rst",
            category="3 Ensembles",
            labels={"item": "Table 1: ours beside the published"},
        ),
        made("tables/table1.tex"),
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
        " -r table {input.table} -r output {params.output}"
        " -r experiment {params.experiment} > {log.text} 2>&1"
