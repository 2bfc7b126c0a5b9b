# In: data/pretraining/{shard}.npy, data/tokenizer/; pretrains that exist already
# (pretrain.checkpoints).
# Out: pretrain/{scale}/seed{pretrain_seed}/, a T5 trained here from random initialisation, or taken
# over.
# Checkpoints on the way live outside of the output, which Snakemake deletes when a job fails.


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
        checkpoint=lambda wildcards: json.dumps(IMPORTED[wildcards.imported]),
        shape=lambda wildcards: json.dumps(config["models"][scale_of(wildcards)]["shape"]),
        code=code("import_pretrain"),
    shell:
        "python scripts/import_pretrain.py --checkpoint {params.checkpoint:q}"
        " --tokenizer {input.tokenizer} --shape {params.shape:q} --output {output}"
        " --log {log} --label 'import {wildcards.imported}'"


ruleorder: import_pretrain > pretrain
