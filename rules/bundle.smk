# A bundle is one file with the reward matrix and its provenance.
# In: the reward matrix and the other artifacts that later stages read; or the bundle that `bundle`
# in the config names.
# Out: bundles/{experiment}.zip; or those artifacts, config.json and manifest.json.

from underspec.provenance.bundle import model_folders

ALIGNED_POLICIES = [each.name for each in ALIGNMENTS]
BUNDLED = {
    "tables": [
        made("data/posts.parquet"),
        made("samples/best_of_n.parquet"),
        *expand(made("scores/{name}.parquet"), name=SCORES),
        *([STYLES] if STYLED else []),
        *expand(made("style_scores/{name}.parquet"), name=STYLE_SCORES),
        *ALIGNED_TABLES,
    ],
    "models": [made(folder) for folder in model_folders(SCORES)],
}


if config["bundle"]:

    rule unbundle:
        input:
            config["bundle"],
        output:
            BUNDLED["tables"],
            directory(BUNDLED["models"]),
            made("config.json"),
            report(
                made("manifest.json"),
                caption="../reports/captions/bundle.rst",
                category="7 Data and run",
                labels={"item": "What this report was drawn from"},
            ),
        log:
            made("logs/unbundle.log"),
        benchmark:
            made("benchmarks/unbundle.tsv")
        localrule: True
        conda:
            ANALYSIS
        params:
            call=call("unbundle"),
            settings=settings(
                bundle=config["bundle"],
                scores=SCORES,
                styles=STYLE_SCORES,
                aligned=ALIGNED_POLICIES,
                results=RESULTS,
            ),
            code=code("unbundle"),
        shell:
            "python {params.call} {params.settings} --log {log}"

else:

    rule bundle:
        input:
            BUNDLED["tables"],
            BUNDLED["models"],
            made("policy"),
        output:
            f"bundles/{config['experiment']}.zip",
        log:
            made("logs/bundle.log"),
        benchmark:
            made("benchmarks/bundle.tsv")
        localrule: True
        conda:
            ANALYSIS
        params:
            call=call("bundle"),
            settings=settings(
                results=RESULTS,
                scores=SCORES,
                styles=STYLE_SCORES,
                aligned=ALIGNED_POLICIES,
                config=config,
            ),
            code=code("bundle"),
        shell:
            "python {params.call} {params.settings} --log {log}"
