# In: the world's options (and, if it downloads, its source).
# Out: data/posts.parquet, data/pretraining.txt, data/tokenizer/, data/pretraining.npy


# Archives move on: what was downloaded stays until what is asked for changes, whatever is edited.
rule fetch:
    output:
        directory(made("data/raw")),
    log:
        made("logs/fetch.log"),
    benchmark:
        made("benchmarks/fetch.tsv")
    conda:
        ANALYSIS
    params:
        world=config["world"],
        options=world_options(*WORLD.fetch_options),
        code=code("fetch"),
    shell:
        "python scripts/fetch.py --world {params.world} --options {params.options:q}"
        " --output {output} --log {log} --label fetch"


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


rule pretraining_text:
    input:
        raw=raw(),
    output:
        made("data/pretraining.txt"),
    log:
        made("logs/pretraining_text.log"),
    benchmark:
        made("benchmarks/pretraining_text.tsv")
    conda:
        ANALYSIS
    params:
        world=config["world"],
        options=world_options(),
        raw=raw_option,
        code=world_code("pretraining_text"),
    shell:
        "python scripts/pretraining_text.py --world {params.world}"
        " --options {params.options:q} {params.raw}"
        " --output {output} --log {log} --label 'pretraining text'"


rule tokenizer:
    input:
        text=made("data/pretraining.txt"),
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


rule tokens:
    input:
        text=made("data/pretraining.txt"),
        tokenizer=made("data/tokenizer"),
    output:
        made("data/pretraining.npy"),
    log:
        made("logs/tokens.log"),
    benchmark:
        made("benchmarks/tokens.tsv")
    conda:
        TRAIN
    params:
        code=code("tokens"),
    shell:
        "python scripts/tokens.py --text {input.text} --tokenizer {input.tokenizer}"
        " --output {output} --log {log} --label tokens"
