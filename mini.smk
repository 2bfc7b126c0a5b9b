configfile: "config.yaml"
include: "/work/main/rules/common.smk"
include: "/work/main/rules/data.smk"
include: "/work/main/rules/pretrain.smk"
include: "/work/main/rules/policy.smk"
include: "/work/main/rules/reward.smk"
rule all:
    default_target: True
    input: expand(made("scores/{scale}/{name}.parquet"), scale=SCALES, name=NAMES), made("scores/evaluator.parquet"), made("scores/gold.parquet")
