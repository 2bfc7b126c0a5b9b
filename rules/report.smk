# In: posts, samples/, scores/, rerank/, tables/, figures/, claims.csv.
# Out: report/overview.html and report/samples.html: self-contained pages of the report, from the
# templates of reports/pages; report/opening.html, what the report opens with.

from underspec.shipped import shipped_verdicts

PAGES = {
    "overview": ("0 Overview", "What came out"),
    "samples": ("5 Samples", "Samples, and what each ranker picks"),
    "data_card": ("6 Data and run", "Data card"),
    "manifest": ("6 Data and run", "Run manifest"),
}
OF_THE_RUN = ["data_card", "manifest"]
REPORT_PAGES = [
    made("report/opening.html"),
    *(
        made(f"report/{name}.html")
        for name in PAGES
        if not (config["bundle"] and name in OF_THE_RUN)
    ),
]
GALLERY = ["figure1", "figure2", "figure3", "figure4"]
# What was trained, as far as it is here, and the verdicts of a run of the same config.
MODELS = BUNDLED["models"] + [
    *([] if config["bundle"] else [made("policy")]),
    *(pretrained(*one) for one in pretrains(config) if not config["bundle"]),
]
SHIPPED = shipped_verdicts(Path(), config)


rule overview:
    input:
        figures=[made(f"figures/{name}.svg") for name in GALLERY],
        accuracy=made("tables/accuracy.csv"),
        claims=made("claims.csv"),
        models=MODELS,
        shipped=SHIPPED or [],
        template=template("overview"),
        parts=expand("reports/pages/{part}.html", part=["opening", "run"]),
    output:
        opening=made("report/opening.html"),
        page=page("overview", *PAGES["overview"]),
    log:
        made("logs/overview.log"),
    benchmark:
        made("benchmarks/overview.tsv")
    conda:
        ANALYSIS
    params:
        about=json.dumps(
            {
                "experiment": config["experiment"],
                "world": config["world"],
                "grid": config["grid"],
                "models": len(NAMES),
                "pretrain_seeds": len(config["pretrain_seeds"]),
                "finetune_seeds": len(config["finetune_seeds"]),
                "aggregators": config["aggregators"],
                "policy": config["policy"]["scale"],
                "samples": config["sampling"]["samples"]["best_of_n"],
                "best_of_n": config["best_of_n"],
                "evaluator": config["evaluator"]["scale"],
            }
        ),
        figures=json.dumps(
            [{"title": TITLES[name], "path": made(f"figures/{name}.svg")} for name in GALLERY]
        ),
        models=json.dumps(MODELS),
        shipped=f"--shipped {SHIPPED}" if SHIPPED else "",
        code=code("overview"),
    shell:
        "python scripts/overview.py --about {params.about:q} --accuracy {input.accuracy}"
        " --figures {params.figures:q} --claims {input.claims} --models {params.models:q}"
        " {params.shipped} --template {input.template[0]} --opening {output.opening}"
        " --output {output.page} --log {log} --label overview"


rule browser:
    input:
        MATRIX,
        made("evaluator"),
        made("scores/evaluator.parquet"),
        made("scores/gold.parquet") if HAS_GOLD else [],
        posts=made("data/posts.parquet"),
        template=template("samples"),
    output:
        page("samples", *PAGES["samples"]),
    log:
        made("logs/browser.log"),
    benchmark:
        made("benchmarks/browser.tsv")
    conda:
        ANALYSIS
    params:
        results=results_folder,
        experiment=json.dumps(EXPERIMENT),
        name=config["experiment"],
        code=code("browser"),
    shell:
        "python scripts/browser.py --results {params.results} --posts {input.posts}"
        " --experiment {params.experiment:q} --name {params.name} --template {input.template[0]}"
        " --output {output} --log {log} --label 'sample browser'"
