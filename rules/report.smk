# In: posts, samples/, scores/, rerank/, diagnostics/, tables/, figures/, claims.csv.
# Out: report/overview.html and report/samples.html, self-contained pages made from the templates in
# reports/pages; report/opening.html, the first page of the report.

from underspec.report.shipped_verdicts import shipped_verdicts

PAGES = {
    "overview": ("0 Overview", "What came out"),
    "samples": ("6 Samples", "Samples, and what each ranker picks"),
    "data_card": ("7 Data and run", "Data card"),
    "manifest": ("7 Data and run", "Run manifest"),
}
OF_THE_RUN = ["data_card", "manifest"]
REPORT_PAGES = [
    made("report/opening.html"),
    *(
        made(f"report/{name}.html")
        for name in PAGES
        if not (config["bundle"] and name in OF_THE_RUN)
    ),
]
GALLERY = [name for name in ("figure1", "figure2", "figure3", "figure4") if name in DRAWN]
# The results trained here, if there are any, and the verdicts of a run of the same config.
MODELS = BUNDLED["models"] + [
    *([] if config["bundle"] else [made("policy")]),
    *(pretrained(*one) for one in pretrained_checkpoints(config) if not config["bundle"]),
]
SHIPPED = shipped_verdicts(HERE, config)
# The aligned policies that the sample browser shows: all others would make the page too long.
BROWSED = {
    "rankers": {
        scale: [each.name for each in grid.first_of_kinds(EVERY_RANKER[name] for name in names)]
        for scale, names in aligned_rankers(config).items()
    },
    "kl_coefficients": config["rlhf"]["kl_coefficients"],
    "seeds": config["rlhf"]["seeds"][:1],
}


rule overview:
    input:
        PAGE_PARTS,
        [template(part) for part in ("opening", "run")],
        [made(f"figures/{name}.svg") for name in GALLERY],
        accuracy=made("tables/accuracy.csv"),
        claims=made("claims.csv"),
        models=MODELS,
        shipped=SHIPPED or [],
        template=template("overview"),
    output:
        opening=made("report/opening.html"),
        page=page("overview", *PAGES["overview"]),
    log:
        made("logs/overview.log"),
    benchmark:
        made("benchmarks/overview.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("overview"),
        settings=settings(
            about={
                "experiment": config["experiment"],
                "world": config["world"],
                "grid": config["grid"],
                "models": len(NAMES),
                "pretrain_seeds": len(config["pretrain_seeds"]),
                "finetune_seeds": len(config["finetune_seeds"]),
                "aggregators": config["aggregators"],
                "policy": config["policy"]["scale"],
                "samples": config["sampling"]["samples"]["best_of_n"],
                "best_of_n": config["best_of_n"],
                "evaluator": config["evaluator"]["scale"],
                "matrix": config["matrix"],
                "words": WORDS,
                "absent": NOT_GIVEN,
            },
            figures=[
                {"title": FIGURES_OF[name][1], "path": made(f"figures/{name}.svg")}
                for name in GALLERY
            ],
        ),
        code=code("overview"),
    shell:
        "python {params.call} {params.settings} --log {log}"


rule browser:
    input:
        MATRIX,
        [made(f"scores/{path}.parquet") for path in CHEAPER_TABLES],
        expand(
            made("{kind}/aligned/{policy.name}.parquet"),
            kind=["samples", "scores", "diagnostics"],
            policy=grid.alignments(**BROWSED),
        ),
        PAGE_PARTS,
        posts=made("data/posts.parquet"),
        samples=made("samples/best_of_n.parquet"),
        diagnostics=made("diagnostics.parquet"),
        evaluator_scores=EVALUATOR_SCORES,
        gold_scores=GOLD_SCORES,
        template=template("samples"),
    output:
        page("samples", *PAGES["samples"]),
    log:
        made("logs/browser.log"),
    benchmark:
        made("benchmarks/browser.tsv")
    localrule: True
    conda:
        ANALYSIS
    params:
        call=call("browser"),
        settings=settings(
            **FOLDERS,
            **ALIGNED_FOLDERS,
            aligned=BROWSED,
            design=DESIGN,
            newer=config["newer_rankers"],
            cheaper=config["cheaper_ensembles"],
            experiment=config["experiment"],
            words=WORDS,
        ),
        code=code("browser"),
    shell:
        "python {params.call} {params.settings} --log {log}"
