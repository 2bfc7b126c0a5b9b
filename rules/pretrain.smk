# In: data/pretraining/{shard}.npy, data/tokenizer/.
# Out: pretrain/{scale}/seed{pretrain_seed}/, a T5 from random initialisation.
# Checkpoints on the way live outside of the output, which Snakemake deletes when a job fails.


rule pretrain:
    input:
        tokens=pretraining_tokens(),
        tokenizer=made("data/tokenizer"),
    output:
        directory(made("pretrain/{scale}/seed{pretrain_seed}")),
    log:
        made("logs/pretrain/{scale}/seed{pretrain_seed}.log"),
    benchmark:
        made("benchmarks/pretrain/{scale}/seed{pretrain_seed}.tsv")
    conda:
        TRAIN
    threads: cpus("pretrain")
    resources:
        **asks("pretrain"),
        checkpoint_seconds=config["checkpoint_seconds"],  # a parameter would rerun what is finished
    params:
        tokens=json.dumps(pretraining_tokens()),
        shape=of_scale("shape"),
        recipe=recipe_of("models", "{scale}", "pretrain"),
        corruption=json.dumps(config["corruption"]),
        checkpoints=made("checkpoints/pretrain/{scale}/seed{pretrain_seed}"),
        code=code("pretrain"),
    shell:
        "{resources.launcher} scripts/pretrain.py --tokens {params.tokens:q}"
        " --tokenizer {input.tokenizer}"
        " --shape {params.shape:q} --corruption {params.corruption:q} --recipe {params.recipe:q}"
        " --seed {wildcards.pretrain_seed} --checkpoints {params.checkpoints}"
        " --save_seconds {resources.checkpoint_seconds} --placement {resources.placement:q} --output {output}"
        " --log {log} --label 'pretrain {wildcards.scale} seed {wildcards.pretrain_seed}'"
