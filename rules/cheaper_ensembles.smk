# Cheaper ensembles of one pretrained checkpoint, as rankers beside the grid's.
# In: data/, samples/, pretrain/, reward_models/.
# Out: in reward_models/{scale}/: pretrain{p}-finetune{f}-head{h}/ (with the initial head of another
# finetuning seed), pretrain{p}-warm/ (the average of their weights), pretrain{p}-finetune{f}-heads{k}/
# (with k reward heads); in scores/{scale}/: pretrain{p}-warm.parquet, and for each head
# pretrain{p}-finetune{f}-heads{k}-{i}.parquet; in worlds that have styles, style_scores/ of all of them.

MEMBER = "{scale}/pretrain{pretrain_seed}-finetune{finetune_seed}-head{head_seed}"
MULTIHEAD = "{scale}/pretrain{pretrain_seed}-finetune{finetune_seed}-heads{heads}"
TRAINED_FOR_THIS = CHEAPER_JOBS.get("cheaper_ensembles", [])
DROPOUT = CHEAPER_JOBS.get("mc_dropout", [])
WARM_MEMBERS = {str(each.pretrain_seed): each.members for each in CHEAPER if isinstance(each, Warm)}


use rule reward_model as warm_member with:
    output:
        directory(made(f"reward_models/{MEMBER}")),
    log:
        made(f"logs/reward_models/{MEMBER}.log"),
    benchmark:
        made(f"benchmarks/reward_models/{MEMBER}.tsv")


rule warm:
    input:
        posts=made("data/posts.parquet"),
        labelled=LABELLED,
        tokenizer=made("data/tokenizer"),
        members=lambda wildcards: expand(
            made("reward_models/{scale}/{member}"),
            scale=wildcards.scale,
            member=WARM_MEMBERS[wildcards.pretrain_seed],
        ),
    output:
        directory(made("reward_models/{scale}/pretrain{pretrain_seed}-warm")),
    log:
        made("logs/warm/{scale}/pretrain{pretrain_seed}.log"),
    benchmark:
        made("benchmarks/warm/{scale}/pretrain{pretrain_seed}.tsv")
    conda:
        TRAIN
    threads: cpus("score")
    resources:
        **asks("score"),
    params:
        call=call("warm"),
        settings=settings(
            "scale",
            "pretrain_seed",
            architecture=architecture_of(),
            lengths=config["lengths"],
            reward=config["reward"],
        ),
        code=model_code("warm"),
    shell:
        "python {params.call} {params.settings} --log {log}"


use rule reward_model as multihead with:
    output:
        directory(made(f"reward_models/{MULTIHEAD}")),
    log:
        made(f"logs/reward_models/{MULTIHEAD}.log"),
    benchmark:
        made(f"benchmarks/reward_models/{MULTIHEAD}.tsv")


if TRAINED_FOR_THIS:

    use rule score as score_cheaper_ensembles with:
        input:
            posts=made("data/posts.parquet"),
            samples=made("samples/best_of_n.parquet"),
            tokenizer=made("data/tokenizer"),
            reward_models=[
                made(f"reward_models/{{scale}}/{each.folder}") for each in TRAINED_FOR_THIS
            ],
            styles=STYLES,
        output:
            scores=[
                made(f"scores/{{scale}}/{table}.parquet")
                for each in TRAINED_FOR_THIS
                for table in each.tables
            ],
            style_scores=made("style_scores/{scale}/cheaper_ensembles.parquet") if STYLED else [],
        log:
            made("logs/score/{scale}/cheaper_ensembles.log"),
        benchmark:
            made("benchmarks/score/{scale}/cheaper_ensembles.tsv")


if DROPOUT:

    use rule score as score_mc_dropout with:
        input:
            posts=made("data/posts.parquet"),
            samples=made("samples/best_of_n.parquet"),
            tokenizer=made("data/tokenizer"),
            reward_models=[made(f"reward_models/{{scale}}/{each.folder}") for each in DROPOUT],
            styles=STYLES,
        output:
            scores=[
                made(f"scores/{{scale}}/{table}.parquet")
                for each in DROPOUT
                for table in each.tables
            ],
            style_scores=made("style_scores/{scale}/mc_dropout.parquet") if STYLED else [],
        log:
            made("logs/score/{scale}/mc_dropout.log"),
        benchmark:
            made("benchmarks/score/{scale}/mc_dropout.tsv")
        params:
            settings=settings(
                architecture=architecture_of(),
                lengths=config["lengths"],
                precision=config["scoring"]["precision"],
                mc_dropout=DROPOUT[0].passes,
            ),
