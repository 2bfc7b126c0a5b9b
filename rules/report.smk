# In: data/, samples/, scores/, rerank/, the model folders, tables/, figures/, benchmarks/.
# Out: report/*.html: self-contained pages of the report, from the templates of reports/pages;
# tables/training.csv; checksums.csv, manifest.json and config.yaml, which say what was run.

PAGES = {
    "overview": ("0 Overview", "What came out"),
    "samples": ("5 Samples", "Samples, and what each ranker picks"),
    "data_card": ("6 Data and run", "Data card"),
    "manifest": ("6 Data and run", "Run manifest"),
}
REPORT_PAGES = expand(made("report/{page}.html"), page=PAGES)
GALLERY = ["figure1", "figure2", "figure3", "figure4"]


rule overview:
    input:
        figures=[made(f"figures/{name}.svg") for name in GALLERY],
        accuracy=made("tables/accuracy.csv"),
        claims=[],
        template=template("overview"),
    output:
        page("overview", *PAGES["overview"]),
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
        claims=lambda wildcards, input: json.dumps(list(input.claims)),
        code=code("overview"),
    shell:
        "python scripts/overview.py --about {params.about:q} --accuracy {input.accuracy}"
        " --figures {params.figures:q} --claims {params.claims:q} --template {input.template[0]}"
        " --output {output} --log {log} --label overview"


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


# The shards of the pretraining text, unless every pretrain is imported and none is needed; and by
# split, the samples that the experiment uses.
TOKENS = pretraining_tokens() if len(IMPORTED) < len(set(pretrains(config))) else []
TEXT_WORLDS = [TEXT_WORLD] if TOKENS else []
SAMPLES = {
    Path(path).stem: path for path in [*compared_samples(), made("samples/best_of_n.parquet")]
}


rule data_card:
    input:
        posts=made("data/posts.parquet"),
        preferences=made("data/preferences.parquet"),
        samples=list(SAMPLES.values()),
        tokens=TOKENS,
        template=template("data_card"),
    output:
        page("data_card", *PAGES["data_card"]),
    log:
        made("logs/data_card.log"),
    benchmark:
        made("benchmarks/data_card.tsv")
    conda:
        ANALYSIS
    params:
        worlds=json.dumps(list(dict.fromkeys([config["world"], *TEXT_WORLDS]))),
        samples=json.dumps(SAMPLES),
        tokens=json.dumps(TOKENS),
        face=config["experiment"],
        code=code("data_card"),
    shell:
        "python scripts/data_card.py --worlds {params.worlds:q} --posts {input.posts}"
        " --preferences {input.preferences} --samples {params.samples:q} --tokens {params.tokens:q}"
        " --face {params.face} --template {input.template[0]} --output {output} --log {log}"
        " --label 'data card'"


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


SCORES = [
    *expand(made("scores/{scale}/{name}.parquet"), scale=SCALES, name=NAMES),
    made("scores/evaluator.parquet"),
    *([made("scores/gold.parquet")] if HAS_GOLD else []),
]
DATA = [
    made("data/posts.parquet"),
    made("data/preferences.parquet"),
    *TOKENS,
    *SAMPLES.values(),
]


rule checksums:
    input:
        DATA,
        SCORES,
        made("data/tokenizer"),
        [run["folder"] for run in RUNS],
    output:
        made("checksums.csv"),
    log:
        made("logs/checksums.log"),
    benchmark:
        made("benchmarks/checksums.tsv")
    conda:
        ANALYSIS
    params:
        files=json.dumps(
            [
                *DATA,
                made("data/tokenizer/tokenizer.json"),
                *(f"{run['folder']}/*.safetensors" for run in RUNS),
                *SCORES,
            ]
        ),
        code=code("checksums"),
    shell:
        "python scripts/checksums.py --files {params.files:q} --output {output}"
        " --log {log} --label checksums"


# After everything else, so that all benchmarks are there.
rule manifest:
    input:
        FIGURES,
        TABLES,
        [made(f"report/{name}.html") for name in PAGES if name != "manifest"],
        environments=expand("envs/{name}.txt", name=["analysis", "train", "workflow"]),
        checksums=made("checksums.csv"),
        template=template("manifest"),
    output:
        page=page("manifest", *PAGES["manifest"]),
        config=made("config.yaml"),
        manifest=made("manifest.json"),
    log:
        made("logs/manifest.log"),
    benchmark:
        made("benchmarks/manifest.tsv")
    conda:
        ANALYSIS
    params:
        config=lambda wildcards: json.dumps(config),  # a path may hold {seed}
        environments=lambda wildcards, input: json.dumps(list(input.environments)),
        benchmarks=made("benchmarks"),
        face=config["experiment"],
        code=code("manifest"),
    shell:
        "python scripts/manifest.py --config {params.config:q}"
        " --environments {params.environments:q} --checksums {input.checksums}"
        " --benchmarks {params.benchmarks} --face {params.face} --template {input.template[0]}"
        " --page {output.page} --merged_config {output.config} --output {output.manifest}"
        " --log {log} --label manifest"
