# In: samples/best_of_n.parquet, scores/, rerank/, metrics, the claims file reports/claims.yaml; where
# the world has styles, data/styles.parquet and style_scores/.
# With RLHF, evidence/{scale}/rlhf.parquet too, and with a prompted judge evidence/{scale}/judge.parquet.
# Out: diagnostics.parquet (of every sample), evidence/{scale}/ (resamples of posts and seeds,
# tables), claims.csv (the verdict on every claim), tables/ that the paper does not have: exact, ...

EVIDENCE_TABLES = possible(OF_EVIDENCE, HAS)
RLHF_EVIDENCE = expand(made("evidence/{scale}/rlhf.parquet"), scale=RLHF_SCALES)
HAS_JUDGE = config["judge"]["url"] is not None and not missing("judge", HAS)
JUDGE_EVIDENCE = expand(made("evidence/{scale}/judge.parquet"), scale=SCALES if HAS_JUDGE else [])


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
    priority: 1  # before figures: all that rests on the evidence waits for it
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("diagnostics"),
        settings=settings(rater=RATER, line_breaks=WORLD.has_line_breaks),
        code=code(
            "diagnostics", *[f"underspec/data/gold_raters/{RATER}"] * gold_raters.exists(RATER)
        ),
    shell:
        "python {params.call} {params.settings} --log {log}"


# One job per scale: at the paper's size, the resamples of all scales would fill a node's memory.
rule evidence:
    input:
        expand(made("reward_models/{{scale}}/{name}"), name=NAMES),
        expand(made("scores/{{scale}}/{name}.parquet"), name=NAMES),
        [made(f"scores/{{scale}}/{name}.parquet") for each in CHEAPER for name in each.tables],
        expand(made("rerank/{{scale}}/{ranker}.parquet"), ranker=RANKERS),
        samples=made("samples/best_of_n.parquet"),
        diagnostics=made("diagnostics.parquet"),
        evaluator=EVALUATOR_FOLDER,
        evaluator_scores=EVALUATOR_SCORES,
        gold_scores=GOLD_SCORES,
        styled=STYLES,
        style_scores=made("style_scores/{scale}/grid.parquet") if STYLED else [],
        cheaper_style_scores=expand(
            made("style_scores/{{scale}}/{job}.parquet"), job=CHEAPER_JOBS if STYLED else []
        ),
        evaluator_style_scores=made(f"style_scores/{EVALUATOR}.parquet") if STYLED else [],
    output:
        made("evidence/{scale}/resamples.parquet"),
        expand(made("evidence/{{scale}}/{table}.csv"), table=EVIDENCE_TABLES),
    log:
        made("logs/evidence/{scale}.log"),
    benchmark:
        made("benchmarks/evidence/{scale}.tsv")
    priority: 1  # before figures: all that rests on the evidence waits for it
    conda:
        ANALYSIS
    params:
        call=call("evidence"),
        settings=settings(
            "scale",
            **FOLDERS,
            design=DESIGN,
            newer=config["newer_rankers"],
            cheaper=config["cheaper_ensembles"],
            length_bias=0.0 if WORLD.has_preferences else config["labels"]["length_bias"],
            resamples=config["resamples"],
            tables=EVIDENCE_TABLES,
            output=lambda wildcards: made(f"evidence/{wildcards.scale}"),
        ),
        code=code("evidence"),
    shell:
        "python {params.call} {params.settings} --log {log}"


rule claims:
    input:
        expand(made("evidence/{scale}/resamples.parquet"), scale=SCALES),
        expand(made("evidence/{scale}/{table}.csv"), scale=SCALES, table=EVIDENCE_TABLES),
        rlhf=RLHF_EVIDENCE,
        judge=JUDGE_EVIDENCE,
        claims_file=shipped("reports/claims.yaml"),
        published=shipped("reports/published/table1.csv"),
    output:
        tables=expand(made("tables/{table}.csv"), table=EVIDENCE_TABLES),
        table1_long=made("tables/table1_long.csv") if "rankers" in EVIDENCE_TABLES else [],
        claims=made("claims.csv"),
    log:
        made("logs/claims.log"),
    benchmark:
        made("benchmarks/claims.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("claims"),
        settings=settings(
            evidence=[made(f"evidence/{scale}") for scale in SCALES],
            best_of_n=config["best_of_n"],
            pretraining_seeds=len(config["pretrain_seeds"]),
            grid=config["grid"],
            ensemble_size=config["ensemble_size"],
            world=config["world"],
            reward=config["reward"],
            matrix=config["matrix"],
            words=WORDS,
        ),
        code=code("claims"),
    shell:
        "python {params.call} {params.settings} --log {log}"
