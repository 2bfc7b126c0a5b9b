# A prompted judge, if `judge.url` in the config names one: which of two texts is better?
# In: posts, samples/, rerank/, the same of aligned policies, the prompt.
# Out: judge/comparisons.parquet (which texts are compared), judge/answers.parquet (a row for each question,
# with the judge's own words), tables/judge.csv, evidence/{scale}/judge.parquet (resamples for claims).
# Beside them judge/answers.jsonl, which has every answer as it comes; no question in it is asked again.

JUDGE = config["judge"]
TABLES += [made("tables/judge.csv")]
# Where and how to ask. A resource, so that changing it asks nothing again.
SERVER_KEYS = ("url", "api_key_variable", "concurrency", "timeout", "attempts", "backoff")


rule judge_comparisons:
    input:
        MATRIX,
        ALIGNED_TABLES,
        samples=made("samples/best_of_n.parquet"),
        diagnostics=made("diagnostics.parquet"),
        evaluator_scores=EVALUATOR_SCORES,
        gold_scores=GOLD_SCORES,
    output:
        made("judge/comparisons.parquet"),
    log:
        made("logs/judge_comparisons.log"),
    benchmark:
        made("benchmarks/judge_comparisons.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("judge_comparisons"),
        settings=settings(
            **FOLDERS,
            **ALIGNED_FOLDERS,
            design=DESIGN,
            aligned=RLHF_DESIGN,
            rankers=JUDGE["rankers"],
            posts=JUDGE["posts"],
        ),
        code=code("judge_comparisons"),
    shell:
        "python {params.call} {params.settings} --log {log}"


# Where Snakemake runs, because there is a network. The file of answers is not an output, because
# Snakemake deletes those of a job that fails.
rule ask_judge:
    input:
        comparisons=made("judge/comparisons.parquet"),
        posts=made("data/posts.parquet"),
        prompt=shipped(JUDGE["prompt"]),
    output:
        made("judge/answers.parquet"),
    log:
        made("logs/ask_judge.log"),
    benchmark:
        made("benchmarks/ask_judge.tsv")
    localrule: True
    conda:
        ANALYSIS
    resources:
        server=lambda wildcards: json.dumps({key: JUDGE[key] for key in SERVER_KEYS}),
    params:
        call=call("ask_judge"),
        settings=settings(
            request={
                "model": JUDGE["model"] or GOLD_JUDGE,
                **{key: JUDGE[key] for key in ("temperature", "max_tokens", "seed")},
            },
            answers=JUDGE["answers"],
            **({"rater": RATER} if JUDGE["url"] == GOLD_JUDGE else {}),
            answer_file=made("judge/answers.jsonl"),
        ),
        code=code(
            "ask_judge", *[f"underspec/data/gold_raters/{RATER}"] * (JUDGE["url"] == GOLD_JUDGE)
        ),
    shell:
        "python {params.call} {params.settings} --server {resources.server:q} --log {log}"


rule judge_tables:
    input:
        comparisons=made("judge/comparisons.parquet"),
        answers=made("judge/answers.parquet"),
    output:
        evidence=JUDGE_EVIDENCE,
        table=made("tables/judge.csv"),
    log:
        made("logs/judge_tables.log"),
    benchmark:
        made("benchmarks/judge_tables.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("judge_tables"),
        settings=settings(
            design=DESIGN_OF_A_SCALE,
            resamples=config["resamples"],
        ),
        code=code("judge_tables"),
    shell:
        "python {params.call} {params.settings} --log {log}"
