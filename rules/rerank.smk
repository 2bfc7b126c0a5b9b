# In: scores/{scale}/*.parquet.
# Out: rerank/{scale}/{ranker}.parquet: what each ranker picks as its best of n.


rule rerank:
    input:
        scores=expand(made("scores/{{scale}}/{name}.parquet"), name=NAMES),
    output:
        choices=expand(made("rerank/{{scale}}/{ranker}.parquet"), ranker=RANKERS),
    log:
        made("logs/rerank/{scale}.log"),
    benchmark:
        made("benchmarks/rerank/{scale}.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("rerank"),
        settings=settings(**DESIGN_OF_A_SCALE),
        code=code("rerank"),
    shell:
        "python {params.call} {params.settings} --log {log}"
