# In: scores/{scale}/*.parquet.
# Out: rerank/{scale}/{ranker}.parquet: what each ranker picks as its best of n.


rule rerank:
    input:
        scores=expand(made("scores/{{scale}}/{name}.parquet"), name=NAMES),
    output:
        expand(made("rerank/{{scale}}/{ranker}.parquet"), ranker=RANKERS),
    log:
        made("logs/rerank/{scale}.log"),
    benchmark:
        made("benchmarks/rerank/{scale}.tsv")
    conda:
        ANALYSIS
    params:
        scores=lambda wildcards, input: json.dumps(list(input.scores)),
        grid=config["grid"],
        pretrain_seeds=json.dumps(config["pretrain_seeds"]),
        finetune_seeds=json.dumps(config["finetune_seeds"]),
        aggregators=json.dumps(config["aggregators"]),
        best_of_n=json.dumps(config["best_of_n"]),
        output=output_folder,
        code=code("rerank"),
    shell:
        "python scripts/rerank.py --scores {params.scores:q} --grid {params.grid}"
        " --pretrain_seeds {params.pretrain_seeds:q} --finetune_seeds {params.finetune_seeds:q}"
        " --aggregators {params.aggregators:q} --best_of_n {params.best_of_n:q}"
        " --output {params.output} --log {log} --label 'rerank {wildcards.scale}'"
