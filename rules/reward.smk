# In: data/, samples/, pretrain/.
# Out: data/preferences.parquet, reward_models/{scale}/pretrain{p}-finetune{f}/, evaluator/, and
# the reward matrix: scores/{scale}/pretrain{p}-finetune{f}.parquet, scores/evaluator.parquet,
# scores/gold.parquet. Nothing after the matrix needs torch.

EVALUATOR = config["evaluator"]


rule preferences:
    input:
        posts=made("data/posts.parquet"),
        samples=compared_samples(),
        raw=raw(),
    output:
        made("data/preferences.parquet"),
    log:
        made("logs/preferences.log"),
    benchmark:
        made("benchmarks/preferences.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        world=config["world"],
        options=world_options(),
        raw=raw_option,
        labels=json.dumps(config["labels"]),
        samples=json.dumps(compared_samples()),
        code=world_code("preferences", "worlds" if WORLD.has_preferences else "gold_raters"),
    shell:
        "python scripts/preferences.py --world {params.world} --options {params.options:q}"
        " {params.raw} --labels {params.labels:q} --posts {input.posts}"
        " --samples {params.samples:q} --output {output} --log {log} --label preferences"


rule reward_model:
    input:
        posts=made("data/posts.parquet"),
        preferences=made("data/preferences.parquet"),
        tokenizer=made("data/tokenizer"),
        pretrain=made("pretrain/{scale}/seed{pretrain_seed}"),
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
        checkpoint_seconds=config["checkpoint_seconds"],  # a parameter would rerun what is finished
    params:
        shape=of_scale("shape"),
        recipe=recipe_of("models", "{scale}", "reward_model"),
        lengths=json.dumps(config["lengths"]),
        centering=config["centering"],
        checkpoints=made(
            "checkpoints/reward_models/{scale}/pretrain{pretrain_seed}-finetune{finetune_seed}"
        ),
        scale="{scale}",
        pretrain_seed="{pretrain_seed}",
        finetune_seed="{finetune_seed}",
        label="reward model {scale} pretrain {pretrain_seed} finetune {finetune_seed}",
        code=code("reward_model"),
    shell:
        "{resources.launcher} scripts/reward_model.py --posts {input.posts} --preferences {input.preferences}"
        " --tokenizer {input.tokenizer} --pretrain {input.pretrain} --scale {params.scale}"
        " --shape {params.shape:q} --lengths {params.lengths:q} --recipe {params.recipe:q}"
        " --centering {params.centering} --pretrain_seed {params.pretrain_seed}"
        " --finetune_seed {params.finetune_seed} --checkpoints {params.checkpoints}"
        " --save_seconds {resources.checkpoint_seconds} --placement {resources.placement:q}"
        " --output {output} --log {log} --label {params.label:q}"


use rule reward_model as evaluator with:
    input:
        posts=made("data/posts.parquet"),
        preferences=made("data/preferences.parquet"),
        tokenizer=made("data/tokenizer"),
        pretrain=pretrained(EVALUATOR["scale"], EVALUATOR["pretrain_seed"]),
    output:
        directory(made("evaluator")),
    log:
        made("logs/evaluator.log"),
    benchmark:
        made("benchmarks/evaluator.tsv")
    threads: cpus("reward_model", EVALUATOR["scale"])
    resources:
        **asks("reward_model", EVALUATOR["scale"]),
        checkpoint_seconds=config["checkpoint_seconds"],
    params:
        shape=json.dumps(config["models"][EVALUATOR["scale"]]["shape"]),
        recipe=recipe_of("models", EVALUATOR["scale"], "reward_model"),
        lengths=json.dumps(config["lengths"]),
        centering=config["centering"],
        checkpoints=made("checkpoints/evaluator"),
        scale=EVALUATOR["scale"],
        pretrain_seed=EVALUATOR["pretrain_seed"],
        finetune_seed=EVALUATOR["finetune_seed"],
        label="evaluator",
        code=code("reward_model"),


# One job for all reward models of a scale: starting a process costs more than scoring does in
# the miniature, and loading a reward model is nothing beside scoring at the paper's size.
rule score:
    input:
        posts=made("data/posts.parquet"),
        samples=made("samples/best_of_n.parquet"),
        tokenizer=made("data/tokenizer"),
        reward_models=expand(made("reward_models/{{scale}}/{name}"), name=NAMES),
    output:
        expand(made("scores/{{scale}}/{name}.parquet"), name=NAMES),
    log:
        made("logs/score/{scale}.log"),
    benchmark:
        made("benchmarks/score/{scale}.tsv")
    conda:
        TRAIN
    threads: cpus("score")
    resources:
        **asks("score"),
    params:
        shape=of_scale("shape"),
        lengths=json.dumps(config["lengths"]),
        folder=lambda wildcards, input: str(Path(input.reward_models[0]).parent),
        names=json.dumps(NAMES),
        precision=config["scoring"]["precision"],
        scores=output_folder,
        label="score {scale}",
        code=code("score"),
    shell:
        "python scripts/score.py --posts {input.posts} --samples {input.samples}"
        " --tokenizer {input.tokenizer} --reward_models {params.folder} --names {params.names:q}"
        " --shape {params.shape:q} --lengths {params.lengths:q} --precision {params.precision}"
        " --output {params.scores} --log {log} --label {params.label:q}"


use rule score as score_evaluator with:
    input:
        posts=made("data/posts.parquet"),
        samples=made("samples/best_of_n.parquet"),
        tokenizer=made("data/tokenizer"),
        reward_models=made("evaluator"),
    output:
        made("scores/evaluator.parquet"),
    log:
        made("logs/score/evaluator.log"),
    benchmark:
        made("benchmarks/score/evaluator.tsv")
    threads: cpus("score", EVALUATOR["scale"])
    resources:
        **asks("score", EVALUATOR["scale"]),
    params:
        shape=json.dumps(config["models"][EVALUATOR["scale"]]["shape"]),
        lengths=json.dumps(config["lengths"]),
        folder=lambda wildcards, input: str(Path(input.reward_models).parent),
        names=json.dumps(["evaluator"]),
        precision=config["scoring"]["precision"],
        scores=output_folder,
        label="score evaluator",
        code=code("score"),


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
            world=config["world"],
            code=world_code("gold_score", "gold_raters"),
        shell:
            "python scripts/gold_score.py --world {params.world}"
            " --posts {input.posts} --samples {input.samples} --output {output} --log {log} --label 'score gold'"
