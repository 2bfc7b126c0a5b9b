# In: samples/best_of_n.parquet, scores/, rerank/, metrics of the reward models.
# Out: tables/*.csv: what each figure draws and Table 1 prints. Figures 1 to 3 need no evaluator.

EXPERIMENT = {
    key: config[key]
    for key in (
        "scales",
        "grid",
        "pretrain_seeds",
        "finetune_seeds",
        "aggregators",
        "best_of_n",
    )
} | {"gold": HAS_GOLD}
EVALUATION_TABLES = ["accuracy", "figure4", "table1"] + ["gold"] * HAS_GOLD
TABLES = expand(
    made("tables/{table}.csv"), table=["figure1", "figure2", "figure3", *EVALUATION_TABLES]
)
MATRIX = [
    made("samples/best_of_n.parquet"),
    *expand(made("reward_models/{scale}/{name}"), scale=SCALES, name=NAMES),
    *expand(made("scores/{scale}/{name}.parquet"), scale=SCALES, name=NAMES),
    *expand(made("rerank/{scale}/{ranker}.parquet"), scale=SCALES, ranker=RANKERS),
]


rule disagreement_tables:
    input:
        MATRIX,
    output:
        expand(made("tables/{table}.csv"), table=["figure1", "figure2", "figure3"]),
    log:
        made("logs/disagreement_tables.log"),
    benchmark:
        made("benchmarks/disagreement_tables.tsv")
    conda:
        ANALYSIS
    params:
        results=lambda wildcards: RESULTS,
        experiment=json.dumps(EXPERIMENT),
        output=output_folder,
        code=code("disagreement_tables"),
    shell:
        "python scripts/disagreement_tables.py --results {params.results}"
        " --experiment {params.experiment:q} --output {params.output}"
        " --log {log} --label 'tables of Figures 1 to 3'"


rule evaluation_tables:
    input:
        MATRIX,
        made("evaluator"),
        made("scores/evaluator.parquet"),
        made("scores/gold.parquet") if HAS_GOLD else [],
        published="reports/published/table1.csv",
    output:
        expand(made("tables/{table}.csv"), table=EVALUATION_TABLES),
    log:
        made("logs/evaluation_tables.log"),
    benchmark:
        made("benchmarks/evaluation_tables.tsv")
    conda:
        ANALYSIS
    params:
        results=lambda wildcards: RESULTS,
        experiment=json.dumps(EXPERIMENT),
        output=output_folder,
        code=code("evaluation_tables"),
    shell:
        "python scripts/evaluation_tables.py --results {params.results}"
        " --experiment {params.experiment:q} --published {input.published}"
        " --output {params.output} --log {log} --label 'tables of Figure 4 and Table 1'"
