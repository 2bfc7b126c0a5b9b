# In: samples/best_of_n.parquet, scores/, rerank/, metrics, the ledger reports/claims.yaml.
# Out: diagnostics.parquet (of every sample), evidence/{scale}/ (resamples of posts and seeds, tables),
# claims.csv: the verdict on every claim, tables/ beside the paper's: exact, shift, ...

OF_EVIDENCE = ["exact", "shift", "components", "paired", "overoptimisation"]
OF_EVIDENCE += ["overoptimisation_fit", "bias"] * HAS_GOLD


rule diagnostics:
    input:
        posts=made("data/posts.parquet"),
        samples=made("samples/best_of_n.parquet"),
    output:
        made("diagnostics.parquet"),
    log:
        made("logs/diagnostics.log"),
    benchmark:
        made("benchmarks/diagnostics.tsv")
    conda:
        ANALYSIS
    params:
        world=config["world"],
        code=code("diagnostics", *[f"underspec/gold_raters/{config['world']}"] * HAS_GOLD),
    shell:
        "python scripts/diagnostics.py --world {params.world} --posts {input.posts}"
        " --samples {input.samples} --output {output} --log {log} --label diagnostics"


# One job a scale: at the paper's size the resamples of all scales would fill a node's memory.
rule evidence:
    input:
        made("samples/best_of_n.parquet"),
        made("diagnostics.parquet"),
        made("evaluator"),
        made("scores/evaluator.parquet"),
        made("scores/gold.parquet") if HAS_GOLD else [],
        expand(made("reward_models/{{scale}}/{name}"), name=NAMES),
        expand(made("scores/{{scale}}/{name}.parquet"), name=NAMES),
        expand(made("rerank/{{scale}}/{ranker}.parquet"), ranker=RANKERS),
    output:
        made("evidence/{scale}/resamples.parquet"),
        expand(made("evidence/{{scale}}/{table}.csv"), table=OF_EVIDENCE),
    log:
        made("logs/evidence/{scale}.log"),
    benchmark:
        made("benchmarks/evidence/{scale}.tsv")
    conda:
        ANALYSIS
    params:
        results=lambda wildcards: RESULTS,
        experiment=json.dumps(EXPERIMENT),
        length_bias=0.0 if WORLD.has_preferences else config["labels"]["length_bias"],
        resamples=config["resamples"],
        output=output_folder,
        code=code("evidence"),
    shell:
        "python scripts/evidence.py --results {params.results} --scale {wildcards.scale}"
        " --experiment {params.experiment:q} --length_bias {params.length_bias}"
        " --resamples {params.resamples} --output {params.output}"
        " --log {log} --label 'evidence {wildcards.scale}'"


rule claims:
    input:
        ledger="reports/claims.yaml",
        published="reports/published/table1.csv",
        evidence=expand(made("evidence/{scale}/resamples.parquet"), scale=SCALES),
        tables=expand(made("evidence/{scale}/{table}.csv"), scale=SCALES, table=OF_EVIDENCE),
    output:
        expand(made("tables/{table}.csv"), table=OF_EVIDENCE),
        claims=made("claims.csv"),
    log:
        made("logs/claims.log"),
    benchmark:
        made("benchmarks/claims.tsv")
    conda:
        ANALYSIS
    params:
        evidence=json.dumps([made(f"evidence/{scale}") for scale in SCALES]),
        tables=json.dumps(OF_EVIDENCE),
        best_of_n=json.dumps(config["best_of_n"]),
        pretrains=len(config["pretrain_seeds"]),
        code=code("claims"),
    shell:
        "python scripts/claims.py --ledger {input.ledger} --published {input.published}"
        " --evidence {params.evidence:q} --tables {params.tables:q} --best_of_n {params.best_of_n:q}"
        " --pretrains {params.pretrains} --output {output.claims} --log {log} --label claims"
