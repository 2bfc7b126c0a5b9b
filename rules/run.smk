# In: data/, samples/, scores/, the model folders, benchmarks/, and the other pages of the report.
# Out: files about the run itself: tables/training.csv, report/data_card.html, checksums.csv,
# manifest.json, config.yaml and report/manifest.html. None of these are made from a bundle.

# The token shards (none if every pretrained checkpoint is imported), and the samples of each split
# that the experiment uses.
TOKENS = pretraining_tokens() if len(IMPORTED) < len(set(pretrained_checkpoints(config))) else []
TEXT_WORLDS = [TEXT_WORLD] if TOKENS else []
SAMPLES = {
    Path(path).stem: path for path in [*compared_samples(), made("samples/best_of_n.parquet")]
}


rule data_card:
    input:
        PAGE_PARTS,
        list(SAMPLES.values()),
        posts=made("data/posts.parquet"),
        labelled=LABELLED,
        tokens=TOKENS,
        left_out_text=[str(Path(path).with_suffix(".json")) for path in TOKENS],
        template=template("data_card"),
    output:
        page("data_card", *PAGES["data_card"]),
    log:
        made("logs/data_card.log"),
    benchmark:
        made("benchmarks/data_card.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("data_card"),
        settings=settings(
            worlds=list(dict.fromkeys([config["world"], *TEXT_WORLDS])),
            samples=SAMPLES,
            reward=config["reward"],
            experiment=config["experiment"],
        ),
        code=code("data_card"),
    shell:
        "python {params.call} {params.settings} --log {log}"


# The trainings of the experiment, as named in the table of training curves.
RUNS = [
    *(
        {
            "stage": "pretrain",
            "scale": scale,
            "name": f"seed{seed}",
            "folder": pretrained(scale, seed),
        }
        for scale, seed in pretrained_checkpoints(config)
    ),
    *(
        {
            "stage": "evaluator" if path == EVALUATOR else "reward model",
            "scale": Path(path).parent.name,
            "name": Path(path).name,
            "folder": made(f"reward_models/{path}"),
        }
        for path in REWARD_MODEL_FOLDERS
    ),
    {
        "stage": "policy",
        "scale": config["policy"]["scale"],
        "name": "policy",
        "folder": made("policy"),
    },
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
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("training_table"),
        settings=settings(runs=RUNS),
        code=code("training_table"),
    shell:
        "python {params.call} {params.settings} --log {log}"


# Everything with weights.
MODEL_FOLDERS = [
    *(run["folder"] for run in RUNS),
    *(made(f"aligned/{policy.name}") for policy in ALIGNMENTS),
]
DATA = [
    made("data/posts.parquet"),
    LABELLED,
    *TOKENS,
    *SAMPLES.values(),
]


rule checksums:
    input:
        DATA,
        expand(made("scores/{name}.parquet"), name=SCORES),
        made("data/tokenizer"),
        MODEL_FOLDERS,
    output:
        made("checksums.csv"),
    log:
        made("logs/checksums.log"),
    benchmark:
        made("benchmarks/checksums.tsv")
    conda:
        ANALYSIS
    params:
        call=call("checksums"),
        settings=settings(
            files=[
                *DATA,
                made("data/tokenizer/tokenizer.json"),
                *(f"{folder}/*.safetensors" for folder in MODEL_FOLDERS),
                *expand(made("scores/{name}.parquet"), name=SCORES),
            ]
        ),
        code=code("checksums"),
    shell:
        "python {params.call} {params.settings} --log {log}"


# Runs last, so that all benchmarks exist.
rule manifest:
    input:
        FIGURES,
        TABLES,
        PAGE_PARTS,
        [made(f"report/{name}.html") for name in PAGES if name != "manifest"],
        environments=[shipped(f"envs/{name}.txt") for name in ("analysis", "train", "workflow")],
        checksums=made("checksums.csv"),
        template=template("manifest"),
    output:
        page=page("manifest", *PAGES["manifest"]),
        merged_config=made("config.yaml"),
        manifest=made("manifest.json"),
    log:
        made("logs/manifest.log"),
    benchmark:
        made("benchmarks/manifest.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("manifest"),
        settings=settings(
            config=config, benchmarks=made("benchmarks"), experiment=config["experiment"]
        ),
        code=code("manifest"),
    shell:
        "python {params.call} {params.settings} --log {log}"
