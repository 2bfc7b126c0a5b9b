# In: data/pretraining/{shard}.npy, data/tokenizer/; existing checkpoints (pretrain.checkpoints).
# Out: pretrain/{scale}/seed{pretrain_seed}/, a T5 pretrained here from random initialisation, or
# imported. Those of other families than T5 are imported, with their own tokenizer.


rule pretrain:
    input:
        tokens=pretraining_tokens(),
        tokenizer=made("data/tokenizer"),
    output:
        pretrained_folder(),
    log:
        made("logs/pretrain/{scale}/seed{pretrain_seed}.log"),
    benchmark:
        made("benchmarks/pretrain/{scale}/seed{pretrain_seed}.tsv")
    conda:
        TRAIN
    threads: cpus("pretrain")
    resources:
        **asks("pretrain"),
        checkpoint_seconds=config["checkpoint_seconds"],  # as a param, it would rerun finished jobs
    params:
        call=call("pretrain"),
        settings=settings(
            "pretrain_seed",
            shape=shape_of(),
            recipe=recipe_of("models", "{scale}", "pretrain"),
            corruption=config["corruption"],
        ),
        checkpoints=checkpoints,
        code=code("pretrain"),
    shell:
        "{resources.launcher} {params.call} {params.settings}"
        " --checkpoints {params.checkpoints} --save_seconds {resources.checkpoint_seconds}"
        " --device_layout {resources.device_layout:q} --log {log}"


# {scale}/seed{pretrain_seed} -> location, for pretrained checkpoints that are not trained here.
IMPORTED = {
    f"{scale}/seed{seed}": checkpoint
    for scale, seed in pretrained_checkpoints(config)
    if (checkpoint := checkpoint_of(config["pretrain"], scale, seed))
}


# An imported checkpoint is kept until its location in the config changes, even if the files there
# change.
rule import_checkpoint:
    input:
        tokenizer=made("data/tokenizer"),
    output:
        directory(made("pretrain/{imported}")),
    log:
        made("logs/pretrain/{imported}.log"),
    benchmark:
        made("benchmarks/pretrain/{imported}.tsv")
    wildcard_constraints:
        imported="|".join(IMPORTED) or "none",
    conda:
        TRAIN
    resources:
        mem_mb=asks("pretrain")["mem_mb"],
        runtime=asks("pretrain")["runtime"],
    params:
        call=call("import_checkpoint"),
        settings=settings(
            checkpoint=lambda wildcards: IMPORTED[wildcards.imported],
            architecture=architecture_of(),
        ),
        code=model_code("import_checkpoint"),
    shell:
        "python {params.call} {params.settings} --log {log}"


ruleorder: import_checkpoint > pretrain
