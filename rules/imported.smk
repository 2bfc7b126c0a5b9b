# In: pretrains that exist already (pretrain.checkpoints), data/tokenizer/.
# Out: pretrain/{scale}/seed{pretrain_seed}/, as pretrain.smk makes it.
from underspec.sources import checkpoint_of


def imported_from(wildcards):
    """Where a pretrain that is not trained here comes from, as JSON."""
    seed = int(wildcards.pretrain_seed)
    return json.dumps(checkpoint_of(config["pretrain"], wildcards.scale, seed))


# What was imported stays until its place in the config changes, whatever changes there.
rule import_pretrain:
    input:
        tokenizer=made("data/tokenizer"),
    output:
        directory(made("pretrain/{scale}/seed{pretrain_seed}")),
    log:
        made("logs/pretrain/{scale}/seed{pretrain_seed}.log"),
    benchmark:
        made("benchmarks/pretrain/{scale}/seed{pretrain_seed}.tsv")
    conda:
        TRAIN
    resources:
        mem_mb=asks("pretrain")["mem_mb"],
        runtime=asks("pretrain")["runtime"],
    params:
        checkpoint=imported_from,
        shape=of_scale("shape"),
        code=code("import_pretrain"),
    shell:
        "python scripts/import_pretrain.py --checkpoint {params.checkpoint:q}"
        " --tokenizer {input.tokenizer} --shape {params.shape:q} --output {output}"
        " --log {log} --label 'import {wildcards.scale} seed {wildcards.pretrain_seed}'"
