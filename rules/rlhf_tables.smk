# In: samples/aligned/, scores/aligned/ and diagnostics/aligned/, and the same of the SFT policy.
# Out: tables/rlhf_*.csv, evidence/{scale}/rlhf.parquet (resamples of posts and seeds, for claims).

RLHF_TABLES = expand(
    made("tables/rlhf_{table}.csv"),
    table=["frontier", "equal_kl", "turning", "correlation", "shift", "table1"]
    + ["shared_error"] * HAS_GOLD,
)
TABLES += RLHF_TABLES


rule rlhf_tables:
    input:
        expand(made("reward_models/{scale}/{name}"), scale=RLHF_SCALES, name=NAMES),
        expand(made("scores/{scale}/{name}.parquet"), scale=RLHF_SCALES, name=NAMES),
        expand(made("rerank/{scale}/{ranker}.parquet"), scale=RLHF_SCALES, ranker=RANKERS),
        [
            made(f"scores/{scale}/{name}.parquet")
            for scale in RLHF_SCALES
            for each in CHEAPER
            for name in each.tables
            if ALIGNED_TO_CHEAPER
        ],
        ALIGNED_TABLES,
        samples=made("samples/best_of_n.parquet"),
        diagnostics=made("diagnostics.parquet"),
        evaluator_scores=EVALUATOR_SCORES,
        gold_scores=GOLD_SCORES,
    output:
        evidence=RLHF_EVIDENCE,
        tables=RLHF_TABLES,
    log:
        made("logs/rlhf_tables.log"),
    benchmark:
        made("benchmarks/rlhf_tables.tsv")
    priority: 1  # before figures: all that rests on the evidence waits for it
    conda:
        ANALYSIS
    params:
        call=call("rlhf_tables"),
        settings=settings(
            **FOLDERS,
            **ALIGNED_FOLDERS,
            design=DESIGN_OF_A_SCALE,
            aligned=RLHF_DESIGN,
            resamples=config["resamples"],
            **({"cheaper": config["cheaper_ensembles"]} if ALIGNED_TO_CHEAPER else {}),
        ),
        code=code("rlhf_tables"),
    shell:
        "python {params.call} {params.settings} --log {log}"
