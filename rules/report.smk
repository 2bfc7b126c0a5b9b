# In: data/, samples/, scores/, rerank/, the model folders, tables/, figures/.
# Out: report/*.html: self-contained pages of the report, from the templates of reports/pages.

REPORT_PAGES = [made("report/samples.html")]
PAGES = Path(workflow.basedir) / "reports" / "pages"


def page(name, category, title):
    """A page as the report lists it. Each item has one label: of two, the report's interface makes
    a switch where a category has two values of the second, and breaks."""
    return report(
        made(f"report/{name}.html"),
        caption=f"../reports/captions/{name}.rst",
        category=category,
        labels={"item": title},
    )


rule browser:
    input:
        MATRIX,
        made("evaluator"),
        made("scores/evaluator.parquet"),
        made("scores/gold.parquet") if HAS_GOLD else [],
        posts=made("data/posts.parquet"),
        template="reports/pages/samples.html",
        parts=["reports/pages/base.html", "reports/pages/style.css"],
    output:
        page("samples", "5 Samples", "Samples, and what each ranker picks"),
    log:
        made("logs/browser.log"),
    benchmark:
        made("benchmarks/browser.tsv")
    conda:
        ANALYSIS
    params:
        results=lambda wildcards, output: str(Path(output[0]).parent.parent),
        experiment=json.dumps(EXPERIMENT),
        name=config["experiment"],
        code=code("browser"),
    shell:
        "python scripts/browser.py --results {params.results} --posts {input.posts}"
        " --experiment {params.experiment:q} --name {params.name} --template {input.template}"
        " --output {output} --log {log} --label 'sample browser'"


# The trainings of the experiment, as the table of their curves names them.
RUNS = [
    *(
        {
            "stage": "pretrain",
            "scale": scale,
            "name": f"seed{seed}",
            "folder": pretrained(scale, seed),
        }
        for scale, seed in pretrains(config)
    ),
    *(
        {
            "stage": "reward model",
            "scale": scale,
            "name": name,
            "folder": made(f"reward_models/{scale}/{name}"),
        }
        for scale in SCALES
        for name in NAMES
    ),
    *(
        {"stage": stage, "scale": config[stage]["scale"], "name": stage, "folder": made(stage)}
        for stage in ("policy", "evaluator")
    ),
]


rule training_table:
    input:
        [run["folder"] for run in RUNS],
    output:
        made("tables/training.csv"),
    log:
        made("logs/training_table.log"),
    benchmark:
        made("benchmarks/training_table.tsv")
    conda:
        ANALYSIS
    params:
        runs=json.dumps(RUNS),
        code=code("training_table"),
    shell:
        "python scripts/training_table.py --runs {params.runs:q} --output {output}"
        " --log {log} --label 'training curves'"
