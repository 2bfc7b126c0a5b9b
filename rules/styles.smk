# In: data/posts.parquet.
# Out: data/styles.parquet: texts that are right or wrong about a post, in three styles, with their
# gold reward. The rule `score` scores them beside the samples.


rule styles:
    input:
        posts=made("data/posts.parquet"),
    output:
        STYLES,
    log:
        made("logs/styles.log"),
    benchmark:
        made("benchmarks/styles.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("styles"),
        settings=settings(world=config["world"], rater=RATER, number=config["styles"]["posts"]),
        code=code(
            "styles",
            f"underspec/data/styles/{config['world']}",
            f"underspec/data/gold_raters/{RATER}",
        ),
    shell:
        "python {params.call} {params.settings} --log {log}"
