# In: data/, a pretrained checkpoint that no reward model uses.
# Out: policy/, samples/{split}.parquet


rule policy:
    input:
        posts=made("data/posts.parquet"),
        tokenizer=made("data/tokenizer"),
        pretrained=pretrained(config["policy"]["scale"], config["policy"]["pretrain_seed"]),
    output:
        directory(made("policy")),
    log:
        made("logs/policy.log"),
    benchmark:
        made("benchmarks/policy.tsv")
    conda:
        TRAIN
    threads: cpus("policy", config["policy"]["scale"])
    resources:
        **asks("policy", config["policy"]["scale"]),
        checkpoint_seconds=config["checkpoint_seconds"],  # as a param, it would rerun finished jobs
    params:
        call=call("policy"),
        settings=settings(
            shape=shape_of(config["policy"]["scale"]),
            lengths=config["lengths"],
            recipe=recipe_of("policy", "recipe"),
            seed=config["policy"]["seed"],
        ),
        checkpoints=checkpoints,
        code=code("policy"),
    shell:
        "{resources.launcher} {params.call} {params.settings}"
        " --checkpoints {params.checkpoints} --save_seconds {resources.checkpoint_seconds}"
        " --device_layout {resources.device_layout:q} --log {log}"


rule sample:
    input:
        posts=made("data/posts.parquet"),
        tokenizer=made("data/tokenizer"),
        policy=made("policy"),
    output:
        made("samples/{split}.parquet"),
    log:
        made("logs/sample/{split}.log"),
    benchmark:
        made("benchmarks/sample/{split}.tsv")
    conda:
        TRAIN
    threads: cpus("sample", config["policy"]["scale"])
    resources:
        **asks("sample", config["policy"]["scale"]),
    params:
        call=call("sample"),
        settings=settings(
            "split",
            shape=shape_of(config["policy"]["scale"]),
            lengths=config["lengths"],
            samples=lambda wildcards: config["sampling"]["samples"][wildcards.split],
            distribution={
                key: config["sampling"][key] for key in ("temperature", "top_k", "top_p")
            },
            seed=config["sampling"]["seed"],
            precision=config["sampling"]["precision"],
        ),
        code=code("sample"),
    shell:
        "python {params.call} {params.settings} --log {log}"
