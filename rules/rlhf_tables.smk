# In: samples/aligned/, scores/aligned/ and diagnostics/aligned/, and the same of the SFT policy.
# Out: tables/rlhf_*.csv, evidence/{scale}/rlhf.parquet (resamples of posts and seeds, for claims).


rule rlhf_tables:
    input:
        made("samples/best_of_n.parquet"),
        made("diagnostics.parquet"),
        made(f"reward_models/{EVALUATOR}"),
        made(f"scores/{EVALUATOR}.parquet"),
        made("scores/gold.parquet") if HAS_GOLD else [],
        expand(made("reward_models/{scale}/{name}"), scale=RLHF_SCALES, name=NAMES),
        expand(made("scores/{scale}/{name}.parquet"), scale=RLHF_SCALES, name=NAMES),
        expand(made("rerank/{scale}/{ranker}.parquet"), scale=RLHF_SCALES, ranker=RANKERS),
        expand(
            made("{kind}/aligned/{policy.name}.parquet"),
            kind=["samples", "scores", "diagnostics"],
            policy=ALIGNMENTS,
        ),
    output:
        evidence=RLHF_EVIDENCE,
        tables=expand(
            made("tables/rlhf_{table}.csv"),
            table=["frontier", "equal_kl", "turning", "correlation", "shift", "table1"],
        ),
    log:
        made("logs/rlhf_tables.log"),
    benchmark:
        made("benchmarks/rlhf_tables.tsv")
    conda:
        ANALYSIS
    params:
        call=call("rlhf_tables"),
        settings=settings(
            results=RESULTS,
            design={key: value for key, value in EVALUATED.items() if key != "scales"},
            aligned={key: config["rlhf"][key] for key in ("rankers", "kl_coefficients", "seeds")},
            resamples=config["resamples"],
        ),
        code=code("rlhf_tables"),
    shell:
        "python {params.call} {params.settings} --log {log}"
