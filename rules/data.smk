# In: the options of the worlds of posts and of pretraining text, and the files that they download.
# Out: data/posts.parquet, data/pretraining/{shard}.txt, data/tokenizer/,
# data/pretraining/{shard}.npy


# Archives change over time, so downloads are kept until the request itself changes. Other edits,
# also of the world's code, download nothing again.
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
        call=call("fetch"),
        settings=settings("world", options=fetch_options),
        code=code("fetch"),
    shell:
        "python {params.call} {params.settings} --log {log}"


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
        TRAIN
    params:
        call=call("posts"),
        settings=settings(world=config["world"], options=world_options()),
        code=world_code("posts"),
    shell:
        "python {params.call} {params.settings} --log {log}"


# Text in several shards is large, so it is deleted once it is tokenized.
rule pretraining_text:
    input:
        raw=raw(TEXT_WORLD),
    output:
        text=(temp if len(SHARDS) > 1 else str)(made("data/pretraining/{shard}.txt")),
        left_out=made("data/pretraining/{shard}.json"),
    log:
        made("logs/pretraining_text/{shard}.log"),
    benchmark:
        made("benchmarks/pretraining_text/{shard}.tsv")
    conda:
        ANALYSIS
    params:
        call=call("pretraining_text"),
        settings=settings(
            "shard",
            world=TEXT_WORLD,
            options=world_options(world=TEXT_WORLD),
            shards=len(SHARDS),
        ),
        code=world_code("pretraining_text", world=TEXT_WORLD),
    shell:
        "python {params.call} {params.settings} --log {log}"


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
        call=call("tokenizer"),
        settings=settings(
            kind=config["tokenizer"]["kind"],
            vocabulary=config["tokenizer"]["vocabulary"],
            line_breaks=WORLD.has_line_breaks,
        ),
        code=code("tokenizer"),
    shell:
        "python {params.call} {params.settings} --log {log}"


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
        call=call("import_tokenizer"),
        settings=settings(
            source=config["tokenizer"]["source"],
            vocabulary=config["tokenizer"]["vocabulary"],
            line_breaks=WORLD.has_line_breaks,
        ),
        code=code("import_tokenizer"),
    shell:
        "python {params.call} {params.settings} --log {log}"


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
        call=call("tokens"),
        code=code("tokens"),
    shell:
        "python {params.call} --log {log}"
