"""The notebooks only draw: tables in, figures out, the same bytes every time."""

import json
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import yaml

from underspec.analysis.ensembles import AGGREGATORS
from underspec.analysis.styles import DIFFICULTIES, difficulty
from underspec.config.layers import read_config
from underspec.data.styles import STYLES
from underspec.errors import ArtifactError
from underspec.report import look, plots

ROOT = Path(__file__).parents[3]
NOTEBOOKS = sorted((ROOT / "reports/notebooks").glob("*.ipynb"))
TEXTS = [ROOT / "reports/workflow.rst", *sorted((ROOT / "reports/captions").glob("*.rst"))]
NEWER = [
    ("single", "single", "soft"),
    ("pretrain", "mean", "mbr"),
    ("pretrain", "uwo", "best_of_n"),
]
CHEAPER = [("warm", "single", "best_of_n"), ("multihead", "mean", "best_of_n")]
CHEAPER += [("mc_dropout8", "mean", "best_of_n"), ("mc_dropout32", "mean", "best_of_n")]
ENSEMBLES = [("single", "single"), *product(("finetune", "pretrain"), ("mean", "min"))]

by_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def small_tables() -> dict[str, pd.DataFrame]:
    """Every table that a notebook draws, as small as it may be."""
    sizes = pd.DataFrame({"scale": ["base", "xl"], "parameters": [41_234, 163_000]})
    ns = pd.DataFrame({"n": [1, 2, 4]})
    grid = sizes.merge(ns, how="cross")
    ensembles = pd.DataFrame(ENSEMBLES, columns=["ensemble", "aggregator"])
    judges = pd.DataFrame({"judge": ["itself", "same pretraining seed", "other pretraining seed"]})
    rankers = pd.DataFrame({"ranker": ["all", "single-pretrain0-finetune0"]})
    pairs = pd.DataFrame({"pair": ["same pretraining seed", "other pretraining seed"]})
    best_possible = pd.DataFrame({"ensemble": ["best possible"], "aggregator": ["best possible"]})

    figure1 = grid.merge(rankers, how="cross").merge(judges, how="cross")
    figure1 = figure1.assign(reward=figure1.n / 4, standard_error=0.1, low=0.0, high=1.0)
    figure1.loc[figure1.judge == "same pretraining seed", ["reward", "low", "high"]] = float("nan")
    figure2 = grid.merge(pairs, how="cross").assign(standard_error=0.1, low=0.1, high=0.9)
    figure2 = figure2.assign(agreement=1 - figure2.n / 10, chance=1 / figure2.n)
    figure3 = grid.merge(rankers, how="cross").assign(share=0.1, low=0.05, high=0.2)
    errors = {"reward_standard_error": 0.1, "win_rate_standard_error": 0.01}
    figure4 = grid.merge(ensembles, how="cross").assign(reward=1.0, win_rate=0.6, **errors)
    figure4["kl_bound"] = figure4.n.map({1: 0.0, 2: 0.193, 4: 0.636})
    gold = grid.merge(pd.concat([ensembles, best_possible]), how="cross")
    published = [0.5] * len(ensembles) + [float("nan")] * len(ensembles)
    table1 = sizes.merge(ensembles, how="cross")
    table1 = table1.assign(reward=[1.0, 1.1, 1.0, 1.0, 1.0] * 2, win_rate=0.6, **errors)
    for column in ("reward", "win_rate"):
        table1[f"published_{column}"] = published
        table1[f"published_{column}_standard_error"] = published
    accuracy = sizes.assign(role="reward model", reward_model="pretrain0-finetune0")
    evaluator = accuracy[-1:].assign(scale="xxl", role="evaluator", parameters=10**6)
    accuracy = pd.concat([accuracy, evaluator])
    bins = pd.DataFrame({"bin": [0, 1], "count": 5, "probability": [0.1, 0.9], "share": [0.2, 0.7]})
    reliability = accuracy.merge(bins, how="cross").assign(ece=0.15)
    domains = {"domain": ["films", "tweets"], "learned": [False, True], "people": [0.9, 0.95]}
    people = accuracy.merge(pd.DataFrame(domains), how="cross").assign(pretrain_seed=0)
    people = people.assign(correlation=0.4, low=0.3, high=0.5)
    exact = grid.merge(
        pd.DataFrame({"statistic": ["reward of single", "reward of pretrain mean"]}), how="cross"
    )
    for name in ("first", "exact"):
        exact[name], exact[f"{name}_standard_error"] = exact.n / 4, 0.1
    exact["relative_efficiency"] = 4 / exact.n
    parts = pd.DataFrame(
        {"component": ["pretraining seed", "finetuning seed", "post", "residual", "one-way"]}
    )
    components = grid.merge(parts, how="cross").assign(variance=1.0, share=0.25)
    components.loc[components.component == "finetuning seed", "share"] = float("nan")
    curves = grid.merge(ensembles[:1], how="cross").merge(
        pd.DataFrame({"by": ["proxy", "reward", "gold"]}), how="cross"
    )
    curves = curves.assign(kl_bound=curves.n / 4, gain=curves.n / 4, standard_error=0.1)
    fitted = sizes.assign(ensemble="single", alpha=1.0, beta=0.2, peak_kl=6.25, residual=0.01)
    hedging = sizes.assign(ensemble="single", by="gold", rule="best_of_n", course="turns", stop=2)
    hedging = hedging.assign(kl_bound=0.5, gain=0.5)
    newer = pd.DataFrame(NEWER + CHEAPER, columns=["ensemble", "aggregator", "rule"])
    newer = pd.concat([ensembles.assign(rule="best_of_n"), newer], ignore_index=True)
    by_size = sizes.merge(pd.DataFrame({"by": ["reward", "gold"]}), how="cross")
    for column in ({"ensemble": ["finetune", "pretrain"]}, {"size": [1, 5, 7]}):
        by_size = by_size.merge(pd.DataFrame(column), how="cross")
    for name, value in {"value": 1.0, "gain": 0.5, "added": 0.1}.items():
        value = value if name == "value" else by_size["size"].map({5: value, 7: value})
        by_size = by_size.assign(**{name: value, f"{name}_low": value, f"{name}_high": value})
    shift = grid.merge(ensembles, how="cross").assign(value=5.0, standard_error=0.1)
    shift = pd.concat([shift.assign(diagnostic=name) for name in ("words", "truth")])
    points = pd.DataFrame({"kl_coefficient": [0.5, 0.1], "kl": [1.0, 5.0]})
    to_dropout = [("mc_dropout8", "mean"), ("mc_dropout32", "mean")]
    to_dropout = pd.DataFrame(to_dropout, columns=["ensemble", "aggregator"])
    aligned = sizes.merge(pd.concat([ensembles, to_dropout]), how="cross")
    aligned = aligned.merge(points, how="cross")
    aligned = aligned.assign(value=aligned.kl, posts_low=0.0, posts_high=6.0)
    paths = pd.DataFrame({"ranker": ["all", "one", "best of 4"], "seed": [float("nan"), 0, None]})
    by = pd.DataFrame({"by": ["kl", "reward", "gold", "hacked"]})
    frontier = aligned.merge(paths, how="cross").merge(by, how="cross")
    of_pairs = aligned.merge(pairs, how="cross").merge(
        pd.DataFrame({"over": ["posts", "samples"], "members": "without"}), how="cross"
    )
    looks = pd.concat([aligned, aligned[::10].assign(ensemble="policy", kl=0.0)])
    looks = pd.concat([looks.assign(diagnostic=name) for name in ("words", "distinct", "truth")])
    bias = sizes.merge(ensembles, how="cross").assign(ranker="one", planted=0.08)
    bias = bias.assign(length_coefficient=0.1)
    intervals = {"value": 0.5, "low": 0.4, "high": 0.6, "posts_low": 0.4, "posts_high": 0.6}
    kinds = pd.concat([ensembles, pd.DataFrame({"ensemble": ["evaluator", "gold rater"]})])
    kinds = sizes.merge(kinds.fillna("single").query("aggregator != 'min'"), how="cross")
    cells = [(*cell, difficulty(*cell)) for cell in product(STYLES, STYLES)]
    cells += [("all", "all", name) for name in DIFFICULTIES]
    cells = pd.DataFrame(cells, columns=["right", "wrong", "difficulty"])
    styled = kinds.assign(minus="").merge(cells, how="cross").assign(**intervals)
    styled = pd.concat([styled, styled[styled.aggregator == "mean"].assign(minus="single")])
    features = kinds.merge(pd.DataFrame({"feature": ["copied_words", "numerals"]}), how="cross")
    measures = pd.DataFrame({"measure": ["gap", "squared error"]})
    measures = measures.merge(
        pd.DataFrame({"part": ["whole", "shared", "pretraining seed", "finetuning seed"]}),
        how="cross",
    ).assign(**intervals)
    steps = pd.concat([points[:1].assign(kl=0.0, kl_coefficient=float("nan")), points])
    stages = pd.DataFrame({"stage": ["pretrain", "reward model"]})
    stages = sizes.merge(stages, how="cross").merge(pd.DataFrame({"step": [1, 2]}), how="cross")
    evaluator_log = stages[-2:].assign(scale="xxl", stage="evaluator", parameters=10**6)
    training = pd.concat([stages, evaluator_log]).assign(name="seed0", loss=1.0, smoothed=1.0)
    contests = [("single", "policy", None), ("pretrain mean", "policy", None)]
    contests += [("pretrain mean", "single", None), ("RLHF pretrain mean", "policy", 0.5)]
    judged = pd.DataFrame(contests, columns=["better", "worse", "kl_coefficient"])
    judged = sizes.merge(judged, how="cross").assign(win_rate=0.6, posts_low=0.5, posts_high=0.7)
    judged["low"] = judged.posts_low.where(judged.better == "single")
    judged["high"] = judged.posts_high.where(judged.better == "single")
    judged = judged[(judged.scale == "base") | judged.kl_coefficient.isna()]
    return {
        "judge": judged.assign(by_evaluator=0.65, by_gold=0.55),
        "figure1": figure1,
        "figure2": figure2,
        "figure3": figure3,
        "figure4": figure4,
        "gold": gold.assign(gold=gold.n / 2, standard_error=0.1),
        "table1": table1,
        "accuracy": accuracy.assign(pretrain_seed=0, finetune_seed=0, accuracy=0.7, pairs=500),
        "reliability": reliability,
        "people": people,
        "exact": exact,
        "components": components,
        "shift": shift,
        "overoptimisation": curves,
        "overoptimisation_fit": fitted,
        "hedging": hedging,
        "ensemble_size": by_size.assign(share=by_size["size"].map({5: 0.9, 7: 1.0})),
        "rankers": grid.merge(newer, how="cross").assign(reward=1.0, win_rate=0.6, gold=0.5),
        "bias": bias.assign(unexplained=0.4),
        "training": training,
        "style_accuracy": styled,
        "shared_error": grid.merge(measures, how="cross"),
        "feature_coefficients": features.assign(**intervals),
        "rlhf_shared_error": sizes.merge(steps, how="cross").merge(measures, how="cross"),
        "rlhf_frontier": frontier,
        "rlhf_correlation": of_pairs,
        "rlhf_shift": looks,
    }


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    for name, table in small_tables().items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


def arguments(notebook: Path, tables: Path, folder: Path) -> dict[str, str]:
    return {
        "table": str(tables / f"{notebook.stem}.csv"),
        "output": str(folder / notebook.stem),
        "experiment": "tiny",
    }


def code_cells(notebook: Path) -> list[dict]:
    cells = json.loads(notebook.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def is_parameters(cell: dict) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


def run_here(notebook: Path, values: dict[str, str]) -> None:
    """Run the cells in this process, with `values` in place of the default parameters."""
    plots.plt.switch_backend("agg")
    names: dict = {}
    for cell in code_cells(notebook):
        exec("".join(cell["source"]), names)
        if is_parameters(cell):
            names.update(values)
    plots.plt.close("all")


def check_written(notebook: Path, folder: Path) -> None:
    if notebook.stem == "table1":
        assert "tabular" in (folder / "table1.tex").read_text()
        assert "</html>" in (folder / "table1.html").read_text()
        return
    svg = ElementTree.parse(folder / f"{notebook.stem}.svg")
    assert svg.getroot().tag.endswith("svg")
    assert (folder / f"{notebook.stem}.pdf").read_bytes().startswith(b"%PDF")


def test_every_figure_has_a_notebook_and_a_caption():
    stems = {notebook.stem for notebook in NOTEBOOKS}
    drawn = {"figure1", "figure2", "figure3", "figure4", "gold", "accuracy", "training"}
    drawn |= {"reliability", "people", "judge"}
    drawn |= {"exact", "components", "shift", "overoptimisation", "rankers", "bias"}
    drawn |= {"ensemble_size", "rlhf_frontier", "rlhf_correlation", "rlhf_shift"}
    drawn |= {"style_accuracy", "shared_error", "feature_coefficients", "rlhf_shared_error"}
    assert stems == drawn | {"table1"}
    pages = {path.stem for path in (ROOT / "reports/pages").glob("*.html")} - {
        "absent",
        "base",
        "comparison",
        "opening",
        "run",
    }
    assert {text.stem for text in TEXTS} == stems | pages | {"bundle", "workflow"}


@by_notebook
def test_has_parameters_and_says_its_question(notebook):
    first = json.loads(notebook.read_text())["cells"][0]
    assert first["cell_type"] == "markdown"
    assert "What to look for" in "".join(first["source"])
    (cell,) = filter(is_parameters, code_cells(notebook))
    names: dict = {}
    exec("".join(cell["source"]), names)
    assert {"table", "output", "experiment"} <= names.keys()


@by_notebook
def test_stores_no_outputs_and_its_cells_have_names(notebook):
    content = json.loads(notebook.read_text())
    assert all(not cell["outputs"] for cell in code_cells(notebook))
    assert all(cell["execution_count"] is None for cell in code_cells(notebook))
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-z]+", name) for name in ids)
    assert content["metadata"]["kernelspec"]["name"] == "python3"


@by_notebook
def test_imports_no_torch(notebook):
    assert "torch" not in notebook.read_text()


def test_plots_import_no_torch():
    check = "import sys, underspec.report.plots; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT / "scripts")


@by_notebook
def test_draws_the_same_bytes_twice(notebook, tables, tmp_path):
    for folder in ("first", "second"):
        run_here(notebook, arguments(notebook, tables, tmp_path / folder))
        check_written(notebook, tmp_path / folder)
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()


@pytest.mark.slow
@by_notebook
def test_runs_under_papermill(notebook, tables, tmp_path, monkeypatch):
    papermill = pytest.importorskip("papermill")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "scripts"))
    papermill.execute_notebook(
        notebook,
        tmp_path / "log.ipynb",
        arguments(notebook, tables, tmp_path),
        progress_bar=False,
        cwd=ROOT,
    )
    check_written(notebook, tmp_path)


def test_footer_is_on_the_face_of_a_figure(tables, tmp_path, monkeypatch):
    monkeypatch.setitem(plots.STYLE, "svg.fonttype", "none")
    notebook = ROOT / "reports/notebooks/figure2.ipynb"
    run_here(notebook, arguments(notebook, tables, tmp_path))
    svg = (tmp_path / "figure2.svg").read_text()
    assert "tiny · not at paper scale" in svg
    assert "base (41k parameters)" in svg


@pytest.mark.parametrize(
    ("count", "said"),
    [
        ("pairs", "pairwise accuracy"),
        ("judgements", "accuracy on judgements"),
        ("ratings", "accuracy on ratings"),
    ],
)
def test_accuracy_says_what_it_is_accuracy_on(count, said, tables, tmp_path, monkeypatch):
    monkeypatch.setitem(plots.STYLE, "svg.fonttype", "none")
    folder = shutil.copytree(tables, tmp_path / "tables")
    table = (folder / "accuracy.csv").read_text()
    (folder / "accuracy.csv").write_text(table.replace("pairs", count))
    notebook = ROOT / "reports/notebooks/accuracy.ipynb"
    run_here(notebook, arguments(notebook, folder, tmp_path))
    svg = (tmp_path / "accuracy.svg").read_text()
    assert said in svg
    assert ("as reported second-hand" in svg) == (count == "judgements")


def test_table1_marks_the_best_of_each_scale(tables, tmp_path):
    notebook = ROOT / "reports/notebooks/table1.ipynb"
    run_here(notebook, arguments(notebook, tables, tmp_path))
    html = (tmp_path / "table1.html").read_text()
    assert html.count("<b>1.100</b> ± 0.100") == 2  # one a scale
    assert "base (41k parameters)" in html and "not at paper scale" in html
    assert "nan" not in html


def test_table1_shows_markup_in_names_as_text(tables, tmp_path):
    folder = shutil.copytree(tables, tmp_path / "tables")
    table = (folder / "table1.csv").read_text()
    (folder / "table1.csv").write_text(table.replace("base", "<i>&</i>").replace("min", "</td>"))
    notebook = ROOT / "reports/notebooks/table1.ipynb"
    given = arguments(notebook, folder, tmp_path) | {"experiment": "</p><b>"}
    run_here(notebook, given)
    html = (tmp_path / "table1.html").read_text()
    assert "&lt;i&gt;&amp;&lt;/i&gt; (41k parameters)" in html and "<i>" not in html
    assert "&lt;/td&gt;" in html and "&lt;/p&gt;&lt;b&gt;" in html


def rendered(text, config):
    jinja2 = pytest.importorskip("jinja2")
    core = pytest.importorskip("docutils.core")
    # trimmed as Snakemake trims
    jinja = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    rst = jinja.from_string(text.read_text()).render(
        snakemake=SimpleNamespace(config=config), files=[]
    )
    strict = {"halt_level": 2, "report_level": 2}
    return core.publish_parts(rst, writer="html", settings_overrides=strict)["html_body"]


@pytest.mark.parametrize("name", ["miniature", "a_", "1.", "x_-y"])
@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_report_text_renders_with_the_config(text, name):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["experiment"], config["bundle"] = name, "my bundles/a_.zip"
    config["models"][name] = config["models"]["xxl"]  # what it is to rst must not matter
    config["scales"].append(name)
    config["policy"]["scale"] = config["evaluator"]["scale"] = name
    html = rendered(text, config)
    assert config["experiment"] in html
    assert "{{" not in html


@pytest.mark.parametrize("experiment", ["pythia", "own_models", "valence", "xsum"])
@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_report_text_renders_with_other_models_and_worlds(text, experiment):
    config = read_config(ROOT, ROOT / f"experiments/{experiment}.yaml")
    assert experiment in rendered(text, config)


@pytest.mark.parametrize("reward", ["pointwise", "rating"])
@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_no_text_speaks_of_comparisons_where_there_are_none(text, reward):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    if text.stem == {"pointwise": "people", "rating": "reliability"}[reward]:
        return  # of a figure that this kind of reward does not have
    if (text.stem, reward) == ("gold", "rating"):
        return
    words = "comparisons(?! at equal KL)|Bradley|centring|simulated rater|pairwise"
    if reward == "rating":
        words += "|log-odds|entail|the post supports|ANLI"
    words = re.compile(words)
    html = rendered(text, config | {"reward": reward})
    assert not words.search(html)
    if text.stem in ("accuracy", "training", "workflow"):
        assert words.search(rendered(text, config))


@pytest.mark.parametrize("name", ["figure4", "table1"])
@pytest.mark.parametrize(("size", "unequal"), [(5, "5 members and finetune ensembles 3"), (3, "")])
def test_captions_say_where_kinds_of_ensembles_differ_in_size(name, size, unequal):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config |= {"pretrain_seeds": list(range(12)), "finetune_seeds": [0, 1, 2]}
    html = rendered(ROOT / f"reports/captions/{name}.rst", config | {"ensemble_size": size})
    assert ("<em>Unequal:</em>" in html) == bool(unequal)
    assert unequal in html


@pytest.mark.parametrize("name", ["figure4", "table1"])
@pytest.mark.parametrize(
    ("grid", "unequal"),
    [
        ([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1]], "3 members and finetune ensembles 2"),
        ([[0, 0], [1, 0], [0, 1]], ""),
        ([[0, 0], [1, 0], [2, 0]], ""),  # there is one kind alone
    ],
)
def test_captions_compare_the_sizes_of_ensembles_on_a_listed_grid(name, grid, unequal):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    html = rendered(ROOT / f"reports/captions/{name}.rst", config | {"grid": grid})
    assert ("<em>Unequal:</em>" in html) == bool(unequal)
    assert unequal in html


def test_the_report_says_how_many_reward_models_a_listed_grid_has():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["grid"] = [[10, 10], [11, 10], [12, 11]]
    html = " ".join(rendered(ROOT / "reports/workflow.rst", config).split())
    assert "each with 3 reward models: 5 pretraining" in html
    assert "as in the paper" not in html.split("They learn")[0] and "[[" not in html


@pytest.mark.parametrize(
    ("rankers", "shown"),
    [
        ({"base": ["single-pretrain10-finetune10"]}, True),
        ({}, False),
        ({"base": [], "xxl": ["single-pretrain10-finetune10"]}, False),  # xxl is not in use
    ],
)
def test_the_caption_of_the_samples_mentions_rlhf_only_if_there_is_any(rankers, shown):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["rlhf"]["rankers"] = rankers
    html = rendered(ROOT / "reports/captions/samples.rst", config)
    assert html.count("RLHF") == shown


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (7, "7"),
        (999, "999"),
        (999.7, "1k"),
        (1_000, "1k"),
        (1_234, "1.2k"),
        (9_960, "10k"),
        (41_234, "41k"),
        (999_600, "1M"),
        (1_234_567, "1.2M"),
        (220e6, "220M"),
        (737_668_096, "738M"),
        (2_851_598_336, "2.9B"),
        (3e9, "3B"),
    ],
)
def test_human_counts(count, words):
    assert look.human(count) == words


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"base": 222_903_552, "large": 737_668_096, "xl": 2_851_598_336}, True),
        ({"base": 222_903_552}, True),
        ({"base": 41_000}, False),
        ({"base": 222_903_552, "xl": 738e6}, False),
        ({"giant": 1e12}, False),
    ],
)
def test_paper_scale(sizes, expected):
    table = pd.DataFrame(sizes.items(), columns=["scale", "parameters"])
    assert look.at_paper_scale(table) is expected


def test_interval_is_symmetric():
    table = pd.DataFrame({"gold": [2.0], "standard_error": [0.5]})
    (row,) = plots.interval(table, "gold", "standard_error").itertuples()
    assert (row.low, row.high) == pytest.approx((1.02, 2.98))


@pytest.mark.parametrize("scales", [1, 3])
def test_the_legend_of_all_aggregators_lies_within_the_figure(scales):
    figure, _ = plt.subplots(1, scales, figsize=(plots.width(scales), 3), layout="constrained")
    plots.legend(
        figure,
        [plots.handle(look.LABELS[kind]) for kind in ("single", "finetune", "pretrain")],
        [plots.handle(look.LABELS.get(name, name)) for name in AGGREGATORS],
    )
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    plt.close(figure)
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


def test_read_names_what_is_wrong(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.csv: no such file"):
        look.read(tmp_path / "none.csv")
    (tmp_path / "header.csv").write_text("scale,n\n")
    (tmp_path / "empty.csv").write_text("")
    for name in ("header.csv", "empty.csv"):
        with pytest.raises(ArtifactError, match=f"{name}: has no rows"):
            look.read(tmp_path / name)
