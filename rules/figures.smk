# In: tables/*.csv.
# Out: figures/*.{svg,pdf}, tables/table1.{tex,html}, made by notebooks that only draw. A notebook
# that fails is left beside the logs, as far as it ran.

BIASED = HAS_GOLD and not WORLD.has_preferences and config["labels"]["length_bias"] != 0
FIGURES_OF = {  # category and title
    "accuracy": ("1 Reward models", "Held-out accuracy"),
    "reliability": ("1 Reward models", "Reliability of the probabilities"),
    "people": ("1 Reward models", "Agreement with people"),
    "training": ("1 Reward models", "Training curves"),
    "figure1": ("2 Underspecification", "Figure 1: reward under other reward models"),
    "figure2": ("2 Underspecification", "Figure 2: agreement"),
    "figure3": ("2 Underspecification", "Figure 3: variance explained by the reward model"),
    "figure4": ("3 Ensembles", "Figure 4: reward and win rate by the evaluator"),
    "gold": ("3 Ensembles", "Gold reward of best-of-n"),
    "judge": ("3 Ensembles", "Win rates by a prompted judge"),
    "rlhf_frontier": ("4 RLHF", "RLHF: reward against the KL"),
    "rlhf_correlation": ("4 RLHF", "RLHF: rank correlation of reward models"),
    "rlhf_shift": ("4 RLHF", "RLHF: what the texts look like"),
    "rlhf_shared_error": ("4 RLHF", "RLHF: the error that all reward models share"),
    "exact": ("5 Beside the paper", "Exact best-of-n: all orders of the samples"),
    "components": ("5 Beside the paper", "Variance components: seeds and posts"),
    "shift": ("5 Beside the paper", "Shift: what the chosen texts look like"),
    "overoptimisation": ("5 Beside the paper", "Over-optimisation: reward against the KL"),
    "ensemble_size": ("5 Beside the paper", "Size of an ensemble: what a further member adds"),
    "rankers": (
        "5 Beside the paper",
        "Newer rankers: hedged selection, UWO, WARM, several heads, dropout",
    ),
    "shared_error": ("5 Beside the paper", "Shared errors: what no ensemble removes"),
    "style_accuracy": ("5 Beside the paper", "Right and wrong texts in several styles"),
    "feature_coefficients": (
        "5 Beside the paper",
        "What words, lists and numerals add to a reward",
    ),
    "bias": ("5 Beside the paper", "A shared bias, which ensembles keep"),
}
# Of the figures that there could be, those that this config does not ask for.
UNASKED = {
    "training": config["bundle"],
    **{name: name not in OF_REWARD[config["reward"]] for name in ("reliability", "people")},
    "bias": not BIASED,
    "style_accuracy": not config["styles"]["posts"],
    "judge": config["judge"]["url"] is None,
    "rankers": not any(found is not None for found in config["newer_rankers"].values())
    and not CHEAPER,
    **dict.fromkeys(
        ["rlhf_correlation", "rlhf_shared_error"],  # of policies aligned to single reward models
        not any(each.ranker.startswith("single-") for each in ALIGNMENTS),
    ),
    **dict.fromkeys(["rlhf_frontier", "rlhf_shift"], not RLHF_SCALES),
}
ASKED = {name: shown for name, shown in FIGURES_OF.items() if not UNASKED.get(name)}
DRAWN = {name: ASKED[name] for name in possible(ASKED, HAS)}
FIGURES = [path for name in DRAWN for path in figure(name)]
FIGURES += table1_files() if HAS_EVALUATOR else []
# Of a matrix from elsewhere: what the first page says is absent, and why.
NOT_GIVEN = [
    {"title": title, "reason": reason}
    for name, (_, title) in (ASKED | {"table1": ("", "Table 1")}).items()
    if config["matrix"] and (reason := missing(name, HAS))
]

WORDS_OPTION = f" -y {shlex.quote(json.dumps({'words': WORDS}))}" if WORDS else ""

# A notebook uses none of the user's own settings (kernels, IPython profile, matplotlibrc), and runs
# where HOME is not writable.
NOTEBOOKS = Path(".snakemake", "notebooks").absolute()
os.environ.update(
    JUPYTER_CONFIG_DIR=f"{NOTEBOOKS}/jupyter/config",
    JUPYTER_DATA_DIR=f"{NOTEBOOKS}/jupyter/data",
    JUPYTER_RUNTIME_DIR=f"{NOTEBOOKS}/jupyter/runtime",
    IPYTHONDIR=f"{NOTEBOOKS}/ipython",
    MPLCONFIGDIR=f"{NOTEBOOKS}/matplotlib",
)


for drawn, (category, title) in DRAWN.items():

    rule:
        name:
            f"draw_{drawn}"
        input:
            notebook=shipped(f"reports/notebooks/{drawn}.ipynb"),
            table=made(f"tables/{drawn}.csv"),
        output:
            report(
                made(f"figures/{drawn}.svg"),
                caption=f"../reports/captions/{drawn}.rst",
                category=category,
                labels={"item": title},
            ),
            made(f"figures/{drawn}.pdf"),
        log:
            text=made(f"logs/{drawn}.log"),
            notebook=made(f"logs/{drawn}.ipynb"),
        benchmark:
            made(f"benchmarks/{drawn}.tsv")
        localrule: True
        conda:
            ANALYSIS
        params:
            experiment=config["experiment"],
            words=WORDS_OPTION,
            output=output_stem,
            library=library,
            code=code("underspec/report/plots"),
        shell:
            "PYTHONPATH={params.library:q} papermill --no-progress-bar {input.notebook:q} {log.notebook}"
            " -r table {input.table} -r output {params.output}"
            " -r experiment {params.experiment}{params.words} > {log.text} 2>&1"


use rule draw_figure1 as draw_table1 with:
    input:
        notebook=shipped("reports/notebooks/table1.ipynb"),
        table=made("tables/table1.csv"),
    output:
        report(
            made("tables/table1.html"),
            caption="../reports/captions/table1.rst",
            category="3 Ensembles",
            labels={"item": "Table 1: ours beside the published"},
        ),
        made("tables/table1.tex"),
    log:
        text=made("logs/table1.log"),
        notebook=made("logs/table1.ipynb"),
    benchmark:
        made("benchmarks/table1.tsv")
    params:
        experiment=config["experiment"],
        words=WORDS_OPTION,
        output=output_stem,
        library=library,
        code=code("underspec/report/plots"),
