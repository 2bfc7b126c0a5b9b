# In: samples/best_of_n.parquet, scores/, rerank/, metrics of the reward models.
# Out: tables/*.csv: the data of each figure and of Table 1. Figures 1 to 3 need no evaluator.

EVALUATION_TABLES = ["figure4", "table1", "gold", *OF_REWARD[config["reward"]]]
EVALUATION_TABLES = ["accuracy", *possible(EVALUATION_TABLES, HAS)]
TABLES = expand(
    made("tables/{table}.csv"), table=["figure1", "figure2", "figure3", *EVALUATION_TABLES]
)
# Of these files there may be hundreds, too many for a command line, so scripts take their folders.
MATRIX = [
    *expand(made("reward_models/{scale}/{name}"), scale=SCALES, name=NAMES),
    *expand(made("scores/{scale}/{name}.parquet"), scale=SCALES, name=NAMES),
    *expand(made("rerank/{scale}/{ranker}.parquet"), scale=SCALES, ranker=RANKERS),
]
FOLDERS = {
    "reward_models": made("reward_models"),
    "scores": made("scores"),
    "choices": made("rerank"),
}
ALIGNED_FOLDERS = {
    f"aligned_{kind}": made(f"{kind}/aligned") for kind in ("samples", "scores", "diagnostics")
}
RLHF_DESIGN = {
    "rankers": aligned_rankers(config),
    "kl_coefficients": config["rlhf"]["kl_coefficients"],
    "seeds": config["rlhf"]["seeds"],
}
# What judges the choices.
EVALUATOR_SCORES = made(f"scores/{EVALUATOR}.parquet") if HAS_EVALUATOR else []
EVALUATOR_FOLDER = made(f"reward_models/{EVALUATOR}") if HAS_EVALUATOR else []
GOLD_SCORES = made("scores/gold.parquet") if HAS_GOLD else []


rule disagreement_tables:
    input:
        MATRIX,
        samples=made("samples/best_of_n.parquet"),
    output:
        expand(made("tables/{table}.csv"), table=["figure1", "figure2", "figure3"]),
    log:
        made("logs/disagreement_tables.log"),
    benchmark:
        made("benchmarks/disagreement_tables.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("disagreement_tables"),
        settings=settings(**FOLDERS, design=DESIGN, output=made("tables")),
        code=code("disagreement_tables"),
    shell:
        "python {params.call} {params.settings} --log {log}"


rule evaluation_tables:
    input:
        MATRIX,
        samples=made("samples/best_of_n.parquet"),
        evaluator=EVALUATOR_FOLDER,
        evaluator_scores=EVALUATOR_SCORES,
        gold_scores=GOLD_SCORES,
        published=shipped("reports/published/table1.csv"),
    output:
        expand(made("tables/{table}.csv"), table=EVALUATION_TABLES),
    log:
        made("logs/evaluation_tables.log"),
    benchmark:
        made("benchmarks/evaluation_tables.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("evaluation_tables"),
        settings=settings(**FOLDERS, design=DESIGN, output=made("tables")),
        code=code("evaluation_tables"),
    shell:
        "python {params.call} {params.settings} --log {log}"
