# In: data/, policy/, reward_models/.
# Out: aligned/{scale}/{ranker}/kl{kl}-seed{seed}/, policies aligned to a ranker by RLHF, and of the
# posts of best_of_n, under the same names: samples/aligned/ (fresh samples), scores/aligned/ (their
# rewards by every reward model of the scale, the evaluator, and the ranker's own members where it is a
# cheaper ensemble), diagnostics/aligned/ (what they look like, and their gold reward).


wildcard_constraints:
    ranker="|".join(map(re.escape, EVERY_RANKER)),
    kl=r"[\d.e+-]+",
    seed=r"\d+",


rule align:
    input:
        posts=made("data/posts.parquet"),
        tokenizer=made("data/tokenizer"),
        policy=made("policy"),
        reward_models=models_of_ranker,
    output:
        directory(made(f"aligned/{ALIGNED}")),
    log:
        made(f"logs/aligned/{ALIGNED}.log"),
    benchmark:
        made(f"benchmarks/aligned/{ALIGNED}.tsv")
    conda:
        TRAIN
    threads: cpus("rlhf")
    resources:
        **asks("rlhf"),
        checkpoint_seconds=config["checkpoint_seconds"],  # as a param, it would rerun finished jobs
    params:
        call=call("align"),
        settings=settings(
            "scale",
            "ranker",
            "seed",
            kl_coefficient=lambda wildcards: wildcards.kl,
            shape=shape_of(config["policy"]["scale"]),
            reward_architecture=architecture_of(),
            lengths=config["lengths"],
            mc_dropout=dropout_of_ranker,
            aggregator=lambda wildcards: EVERY_RANKER[wildcards.ranker].aggregator or "mean",
            samples=config["rlhf"]["samples"],
            bounded_reward=config["rlhf"]["bounded"],
            recipe=recipe_of("rlhf", "recipe"),
            precision=config["scoring"]["precision"],
        ),
        checkpoints=checkpoints,
        code=model_code("align"),
    shell:
        "{resources.launcher} {params.call} {params.settings}"
        " --checkpoints {params.checkpoints} --save_seconds {resources.checkpoint_seconds}"
        " --device_layout {resources.device_layout:q} --log {log}"


# One job draws from all policies that are aligned to one ranker, and one job scores their samples: a
# post is encoded once by each reward model.
rule sample_aligned:
    input:
        posts=made("data/posts.parquet"),
        tokenizer=made("data/tokenizer"),
        sft_policy=made("policy"),
        policies=of_ranker("aligned", suffix=""),
    output:
        tables=of_ranker("samples/aligned"),
    log:
        made(f"logs/sample_aligned/{ALIGNED_TO}.log"),
    benchmark:
        made(f"benchmarks/sample_aligned/{ALIGNED_TO}.tsv")
    conda:
        TRAIN
    threads: cpus("sample", config["policy"]["scale"])
    resources:
        **asks("sample", config["policy"]["scale"]),
    params:
        call=call("sample_aligned"),
        settings=settings(
            shape=shape_of(config["policy"]["scale"]),
            lengths=config["lengths"],
            split="best_of_n",
            samples=config["rlhf"]["evaluation_samples"],
            seed=config["sampling"]["seed"],
            precision=config["sampling"]["precision"],
        ),
        code=code("sample_aligned"),
    shell:
        "python {params.call} {params.settings} --log {log}"


rule score_aligned:
    input:
        posts=made("data/posts.parquet"),
        samples=of_ranker("samples/aligned"),
        tokenizer=made("data/tokenizer"),
        reward_models=expand(made("reward_models/{{scale}}/{name}"), name=NAMES),
        cheaper=lambda wildcards: (
            [] if wildcards.ranker in RANKERS else models_of_ranker(wildcards)
        ),
        evaluator=made(f"reward_models/{EVALUATOR}"),
    output:
        scores=of_ranker("scores/aligned"),
    log:
        made(f"logs/score_aligned/{ALIGNED_TO}.log"),
    benchmark:
        made(f"benchmarks/score_aligned/{ALIGNED_TO}.tsv")
    conda:
        TRAIN
    threads: cpus("score")
    resources:
        **asks("score"),
    params:
        call=call("score_aligned"),
        settings=settings(
            architecture=architecture_of(),
            evaluator_architecture=architecture_of(config["evaluator"]["scale"]),
            members=lambda wildcards: [
                member.name
                for member in EVERY_RANKER[wildcards.ranker].members
                if wildcards.ranker not in RANKERS
            ],
            mc_dropout=dropout_of_ranker,
            lengths=config["lengths"],
            precision=config["scoring"]["precision"],
        ),
        code=model_code("score_aligned", config["evaluator"]["scale"]),
    shell:
        "python {params.call} {params.settings} --log {log}"


rule measure_aligned:
    input:
        posts=made("data/posts.parquet"),
        samples=of_ranker("samples/aligned"),
    output:
        diagnostics=of_ranker("diagnostics/aligned"),
    log:
        made(f"logs/measure_aligned/{ALIGNED_TO}.log"),
    benchmark:
        made(f"benchmarks/measure_aligned/{ALIGNED_TO}.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("measure_aligned"),
        settings=settings(rater=RATER, gold=HAS_GOLD, line_breaks=WORLD.has_line_breaks),
        code=code("measure_aligned", *[f"underspec/data/gold_raters/{RATER}"] * HAS_GOLD),
    shell:
        "python {params.call} {params.settings} --log {log}"
