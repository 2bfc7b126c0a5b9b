# In: data/pretraining/{shard}.npy, data/tokenizer/; pretrains that exist already
# (pretrain.checkpoints).
# Out: pretrain/{scale}/seed{pretrain_seed}/, a T5 trained here from random initialisation, or taken
# over.


rule pretrain:
    input:
        tokens=pretraining_tokens(),
        tokenizer=made("data/tokenizer"),
    output:
        pretrain_folder(),
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
        paths=paths,
        settings=settings(
            "pretrain_seed",
            shape=shape_of(),
            recipe=recipe_of("models", "{scale}", "pretrain"),
            corruption=config["corruption"],
        ),
        checkpoints=checkpoints,
        code=code("pretrain"),
    shell:
        "{resources.launcher} {SCRIPTS}/pretrain.py {params.paths} {params.settings}"
        " --checkpoints {params.checkpoints} --save_seconds {resources.checkpoint_seconds}"
        " --placement {resources.placement:q} --log {log}"


# As {scale}/seed{pretrain_seed}: the pretrains that are not trained here, and where they are.
IMPORTED = {
    f"{scale}/seed{seed}": checkpoint
    for scale, seed in pretrains(config)
    if (checkpoint := checkpoint_of(config["pretrain"], scale, seed))
}


# What was imported stays until its place in the config changes, whatever changes there.
rule import_pretrain:
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
        paths=paths,
        settings=settings(
            checkpoint=lambda wildcards: IMPORTED[wildcards.imported], shape=shape_of()
        ),
        code=code("import_pretrain"),
    shell:
        "python {SCRIPTS}/import_pretrain.py {params.paths} {params.settings} --log {log}"


ruleorder: import_pretrain > pretrain
