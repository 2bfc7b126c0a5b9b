# In: the options of the worlds that give posts and pretraining text (and, if they download, their
# sources).
# Out: data/posts.parquet, data/pretraining/{shard}.txt, data/tokenizer/, data/pretraining/{shard}.npy


# Archives move on: what was downloaded stays until what is asked for changes, whatever is edited.
rule fetch:
    output:
        directory(made("data/raw/{world}")),
    log:
        made("logs/fetch/{world}.log"),
    benchmark:
        made("benchmarks/fetch/{world}.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        options=fetch_options,
        code=code("fetch"),
    shell:
        "python scripts/fetch.py --world {wildcards.world} --options {params.options:q}"
        " --output {output} --log {log} --label 'fetch {wildcards.world}'"


rule posts:
    input:
        raw=raw(),
    output:
        made("data/posts.parquet"),
    log:
        made("logs/posts.log"),
    benchmark:
        made("benchmarks/posts.tsv")
    conda:
        ANALYSIS
    params:
        world=config["world"],
        options=world_options(),
        raw=raw_option,
        code=world_code("posts"),
    shell:
        "python scripts/posts.py --world {params.world} --options {params.options:q} {params.raw}"
        " --output {output} --log {log} --label posts"


# Text in several shards is large: it goes when its tokens are there.
rule pretraining_text:
    input:
        raw=raw(TEXT_WORLD),
    output:
        (temp if len(SHARDS) > 1 else str)(made("data/pretraining/{shard}.txt")),
    log:
        made("logs/pretraining_text/{shard}.log"),
    benchmark:
        made("benchmarks/pretraining_text/{shard}.tsv")
    conda:
        ANALYSIS
    params:
        world=TEXT_WORLD,
        options=world_options(world=TEXT_WORLD),
        shards=len(SHARDS),
        raw=raw_option,
        code=world_code("pretraining_text", world=TEXT_WORLD),
    shell:
        "python scripts/pretraining_text.py --world {params.world}"
        " --options {params.options:q} {params.raw}"
        " --shard {wildcards.shard} --shards {params.shards}"
        " --output {output} --log {log} --label 'pretraining text {wildcards.shard}'"


rule tokenizer:
    input:
        text=made("data/pretraining/0.txt"),
    output:
        directory(made("data/tokenizer")),
    log:
        made("logs/tokenizer.log"),
    benchmark:
        made("benchmarks/tokenizer.tsv")
    conda:
        TRAIN
    params:
        kind=config["tokenizer"]["kind"],
        vocabulary=config["tokenizer"]["vocabulary"],
        code=code("tokenizer"),
    shell:
        "python scripts/tokenizer.py --text {input.text} --kind {params.kind}"
        " --vocabulary {params.vocabulary} --output {output} --log {log} --label tokenizer"


rule import_tokenizer:
    output:
        directory(made("data/tokenizer")),
    log:
        made("logs/import_tokenizer.log"),
    benchmark:
        made("benchmarks/import_tokenizer.tsv")
    localrule: True
    conda:
        TRAIN
    params:
        source=json.dumps(config["tokenizer"]["source"]),
        vocabulary=config["tokenizer"]["vocabulary"],
        code=code("import_tokenizer"),
    shell:
        "python scripts/import_tokenizer.py --source {params.source:q}"
        " --vocabulary {params.vocabulary} --output {output} --log {log} --label tokenizer"


if config["tokenizer"]["kind"] == "t5":

    ruleorder: import_tokenizer > tokenizer

else:

    ruleorder: tokenizer > import_tokenizer


rule tokens:
    input:
        text=made("data/pretraining/{shard}.txt"),
        tokenizer=made("data/tokenizer"),
    output:
        made("data/pretraining/{shard}.npy"),
    log:
        made("logs/tokens/{shard}.log"),
    benchmark:
        made("benchmarks/tokens/{shard}.tsv")
    conda:
        TRAIN
    params:
        code=code("tokens"),
    shell:
        "python scripts/tokens.py --text {input.text} --tokenizer {input.tokenizer}"
        " --output {output} --log {log} --label 'tokens {wildcards.shard}'"
