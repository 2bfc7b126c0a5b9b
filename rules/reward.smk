# In: data/, samples/, pretrain/.
# Out: data/preferences.parquet (data/judgements.parquet where they are of single statements),
# reward_models/{scale}/pretrain{p}-finetune{f}/, trained here or finished, and the reward matrix:
# scores/{scale}/pretrain{p}-finetune{f}.parquet, scores/gold.parquet. The evaluator is one of the
# reward models. In worlds that have styles, style_scores/ too. Nothing after the matrix needs torch.


# What all reward models wait for: `make` asks Snakemake to make it first.
rule labelled:
    input:
        LABELLED,
    localrule: True


if JUDGED:

    rule judgements:
        input:
            posts=made("data/posts.parquet"),
            raw=raw(),
        output:
            LABELLED,
        log:
            made("logs/judgements.log"),
        benchmark:
            made("benchmarks/judgements.tsv")
        localrule: True
        conda:
            TRAIN
        params:
            call=call("judgements"),
            settings=settings(
                world=config["world"], options=world_options(), **config["judgements"]
            ),
            code=world_code("judgements", "worlds" if WORLD.has_judgements else "judgements"),
        shell:
            "python {params.call} {params.settings} --log {log}"

else:

    rule preferences:
        input:
            posts=made("data/posts.parquet"),
            samples=compared_samples(),
            raw=raw(),
        output:
            LABELLED,
        log:
            made("logs/preferences.log"),
        benchmark:
            made("benchmarks/preferences.tsv")
        localrule: True
        conda:
            TRAIN
        params:
            call=call("preferences"),
            settings=settings(
                world=config["world"], options=world_options(), labels=config["labels"]
            ),
            code=world_code("preferences", "worlds" if WORLD.has_preferences else "gold_raters"),
        shell:
            "python {params.call} {params.settings} --log {log}"


rule reward_model:
    input:
        posts=made("data/posts.parquet"),
        labelled=LABELLED,
        tokenizer=made("data/tokenizer"),
        pretrained=made("pretrain/{scale}/seed{pretrain_seed}"),
    output:
        directory(made("reward_models/{scale}/pretrain{pretrain_seed}-finetune{finetune_seed}")),
    log:
        made("logs/reward_models/{scale}/pretrain{pretrain_seed}-finetune{finetune_seed}.log"),
    benchmark:
        made("benchmarks/reward_models/{scale}/pretrain{pretrain_seed}-finetune{finetune_seed}.tsv")
    conda:
        TRAIN
    threads: cpus("reward_model")
    resources:
        **asks("reward_model"),
        checkpoint_seconds=config["checkpoint_seconds"],  # as a param, it would rerun finished jobs
    params:
        call=call("reward_model"),
        settings=settings(
            "scale",
            "pretrain_seed",
            "finetune_seed",
            head_seed=lambda wildcards: wildcards.get("head_seed", wildcards.finetune_seed),
            heads=lambda wildcards: wildcards.get("heads", "1"),
            architecture=architecture_of(),
            recipe=recipe_of("models", "{scale}", "reward_model"),
            lengths=config["lengths"],
            reward=config["reward"],
            centering=config["centering"],
        ),
        checkpoints=checkpoints,
        code=model_code("reward_model"),
    shell:
        "{resources.launcher} {params.call} {params.settings}"
        " --checkpoints {params.checkpoints} --save_seconds {resources.checkpoint_seconds}"
        " --device_layout {resources.device_layout:q} --log {log}"


# {scale}/{name} -> location, for finished reward models.
FINISHED = {
    f"{scale}/{cell.name}": found
    for scale, cell in cells(config)
    if (found := finished_of(config["reward_models"], scale, cell))
}


# A finished reward model is kept until its location in the config changes, even if the files there
# change.
rule import_reward_model:
    input:
        posts=made("data/posts.parquet"),
        labelled=LABELLED,
        tokenizer=made("data/tokenizer"),
    output:
        directory(made("reward_models/{imported}")),
    log:
        made("logs/reward_models/{imported}.log"),
    benchmark:
        made("benchmarks/reward_models/{imported}.tsv")
    wildcard_constraints:
        imported="|".join(map(re.escape, FINISHED)) or "none",
    conda:
        TRAIN
    threads: cpus("score")
    resources:
        **asks("score"),
    params:
        call=call("import_reward_model"),
        settings=settings(
            finished=lambda wildcards: FINISHED[wildcards.imported],
            scale=scale_of,
            pretrain_seed=lambda wildcards: seeds_of(wildcards)[0],
            finetune_seed=lambda wildcards: seeds_of(wildcards)[1],
            architecture=architecture_of(),
            lengths=config["lengths"],
            reward=config["reward"],
        ),
        code=model_code("import_reward_model"),
    shell:
        "python {params.call} {params.settings} --log {log}"


ruleorder: import_reward_model > reward_model


# One job scores with all reward models of a scale. In the miniature, starting a process takes
# longer than scoring; at the paper's size, loading a reward model takes no time in comparison.
rule score:
    input:
        posts=made("data/posts.parquet"),
        samples=made("samples/best_of_n.parquet"),
        tokenizer=made("data/tokenizer"),
        reward_models=expand(made("reward_models/{{scale}}/{name}"), name=NAMES),
        styles=STYLES,
    output:
        scores=expand(made("scores/{{scale}}/{name}.parquet"), name=NAMES),
        style_scores=made("style_scores/{scale}/grid.parquet") if STYLED else [],
    log:
        made("logs/score/{scale}.log"),
    benchmark:
        made("benchmarks/score/{scale}.tsv")
    wildcard_constraints:
        scale="|".join(map(re.escape, SCALES)),
    conda:
        TRAIN
    threads: cpus("score")
    resources:
        **asks("score"),
    params:
        call=call("score"),
        settings=settings(
            architecture=architecture_of(),
            lengths=config["lengths"],
            precision=config["scoring"]["precision"],
        ),
        code=model_code("score"),
    shell:
        "python {params.call} {params.settings} --log {log}"


use rule score as score_evaluator with:
    input:
        posts=made("data/posts.parquet"),
        samples=made("samples/best_of_n.parquet"),
        tokenizer=made("data/tokenizer"),
        reward_models=[made(f"reward_models/{{scale}}/{Path(EVALUATOR).name}")],
        styles=STYLES,
    output:
        scores=[made(f"scores/{{scale}}/{Path(EVALUATOR).name}.parquet")],
        style_scores=(
            made(f"style_scores/{{scale}}/{Path(EVALUATOR).name}.parquet") if STYLED else []
        ),
    log:
        made("logs/score/{scale}/evaluator.log"),
    benchmark:
        made("benchmarks/score/{scale}/evaluator.tsv")
    wildcard_constraints:
        scale=re.escape(config["evaluator"]["scale"]),


if HAS_GOLD:

    rule gold_score:
        input:
            posts=made("data/posts.parquet"),
            samples=made("samples/best_of_n.parquet"),
        output:
            made("scores/gold.parquet"),
        log:
            made("logs/score/gold.log"),
        benchmark:
            made("benchmarks/score/gold.tsv")
        localrule: True
        conda:
            ANALYSIS
        params:
            call=call("gold_score"),
            settings=settings(rater=RATER),
            code=world_code("gold_score", "gold_raters", RATER),
        shell:
            "python {params.call} {params.settings} --log {log}"
