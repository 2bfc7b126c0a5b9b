# In: data/, one pretrain that no reward model shares.
# Out: policy/, samples/{split}.parquet


rule policy:
    input:
        posts=made("data/posts.parquet"),
        tokenizer=made("data/tokenizer"),
        pretrain=pretrained(config["policy"]["scale"], config["policy"]["pretrain_seed"]),
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
        checkpoint_seconds=config["checkpoint_seconds"],  # a parameter would rerun what is finished
    params:
        shape=json.dumps(config["models"][config["policy"]["scale"]]["shape"]),
        lengths=json.dumps(config["lengths"]),
        recipe=recipe_of("policy", "recipe"),
        seed=config["policy"]["seed"],
        checkpoints=made("checkpoints/policy"),
        code=code("policy"),
    shell:
        "{resources.launcher} scripts/policy.py --posts {input.posts} --tokenizer {input.tokenizer}"
        " --pretrain {input.pretrain} --shape {params.shape:q} --lengths {params.lengths:q}"
        " --recipe {params.recipe:q} --seed {params.seed} --checkpoints {params.checkpoints}"
        " --save_seconds {resources.checkpoint_seconds} --placement {resources.placement:q}"
        " --output {output} --log {log} --label policy"


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
        shape=json.dumps(config["models"][config["policy"]["scale"]]["shape"]),
        lengths=json.dumps(config["lengths"]),
        samples=lambda wildcards: config["sampling"]["samples"][wildcards.split],
        distribution=json.dumps(
            {key: config["sampling"][key] for key in ("temperature", "top_k", "top_p")}
        ),
        seed=config["sampling"]["seed"],
        precision=config["sampling"]["precision"],
        code=code("sample"),
    shell:
        "python scripts/sample.py --posts {input.posts} --tokenizer {input.tokenizer}"
        " --policy {input.policy} --shape {params.shape:q} --lengths {params.lengths:q}"
        " --split {wildcards.split} --samples {params.samples}"
        " --distribution {params.distribution:q} --seed {params.seed}"
        " --precision {params.precision}"
        " --output {output} --log {log} --label 'sample {wildcards.split}'"
