"""Reward model underspecification: every artifact of the paper as a target.

    snakemake --cores 2                                            the miniature
    snakemake --cores 2 figure3                                    one figure and what it needs
    snakemake --cores 2 --configfile experiments/debian.yaml       real text
    snakemake --cores 2 --config bundle=bundles/miniature.zip      from a bundle: nothing is trained

Continue in rules/, in the order of the includes, which is the order in which data flows.
"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


configfile: Path(workflow.basedir, "config.yaml")


report: "reports/workflow.rst"


include: "rules/common.smk"
include: "rules/compute.smk"
include: "rules/watch.smk"


if not config["bundle"]:  # a bundle holds what later stages read of these rules' outputs

    include: "rules/data.smk"
    include: "rules/pretrain.smk"
    include: "rules/policy.smk"
    include: "rules/reward.smk"

    if CHEAPER:

        include: "rules/cheaper_ensembles.smk"

    if ALIGNMENTS:

        include: "rules/rlhf.smk"

    if STYLED:

        include: "rules/styles.smk"


include: "rules/bundle.smk"
include: "rules/rerank.smk"
include: "rules/tables.smk"
include: "rules/evidence.smk"


if RLHF_SCALES:

    include: "rules/rlhf_tables.smk"


if HAS_JUDGE:

    include: "rules/judge.smk"


include: "rules/figures.smk"
include: "rules/report.smk"


if not config["bundle"]:

    include: "rules/run.smk"


rule all:
    default_target: True
    input:
        FIGURES,
        TABLES,
        made("claims.csv"),
        REPORT_PAGES,


rule figure1:
    input:
        figure("figure1"),


rule figure2:
    input:
        figure("figure2"),


rule figure3:
    input:
        figure("figure3"),


rule figure4:
    input:
        figure("figure4"),


rule table1:
    input:
        table1_files(),


if RLHF_SCALES:

    rule rlhf:
        input:
            [figure(name) for name in FIGURES_OF if name.startswith("rlhf")],
            RLHF_TABLES,


rule tables:
    input:
        TABLES,
