# In: scores/{scale}/*.parquet.
# Out: rerank/{scale}/{ranker}.parquet: what each ranker picks as its best of n.


rule rerank:
    input:
        expand(made("scores/{{scale}}/{name}.parquet"), name=NAMES),
    output:
        expand(made("rerank/{{scale}}/{ranker}.parquet"), ranker=RANKERS),
    params:
        scores=lambda wildcards, input: json.dumps(list(input)),
        **GRID_JSON,
        output=made("rerank/{scale}"),
        code=code("rerank"),
    log:
        made("logs/rerank/{scale}.log"),
    benchmark:
        made("benchmarks/rerank/{scale}.tsv")
    conda:
        ANALYSIS
    shell:
        "python scripts/rerank.py --scores {params.scores:q}"
