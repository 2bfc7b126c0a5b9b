"""The overview, and what the report opens with, from tables and files as small as can be."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pandas as pd
import pytest
import yaml
from escaping import MARKUP
from markupsafe import escape

from overview import overview
from underspec.analysis.claims import COLUMNS
from underspec.errors import ArtifactError
from underspec.report.overview import (
    CHOSEN,
    grouped,
    read_claims,
    seeds_in_words,
    sizes,
    tally,
    trained_on,
)

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "reports" / "pages"
ACCURACY = pd.DataFrame(
    {
        "scale": ["base", "base", "xxl"],
        "role": ["reward model", "reward model", "evaluator"],
        "parameters": [41_234, 41_234, 320_000],
        "accuracy": [0.61, 0.65, 0.7],
    }
)


def claims_table(folder, **columns):
    row = dict.fromkeys(COLUMNS) | {
        "id": "a",
        "kind": "direction",
        "ours": False,
        "these_models": "supported",
        "claim": "Agreement falls <with> n",
        "place": "Figure 2",
        "scale": "base",
        "published": "falls",
        "estimate": 0.5,
        "low": 0.25,
        "high": 0.75,
        "verdict": "supported",
        "reason": "the whole interval",
    }
    missing = {"verdict": "undecided", "estimate": None, "low": None, "high": None}
    rows = [
        row,
        row | missing | {"scale": "xl", "reason": "no xl"},
        row | {"ours": True, "id": "b"},
    ]
    rows.append(row | {"kind": "number", "id": "c", "claim": "Reward of the mean"})
    pd.DataFrame(rows).assign(**columns).to_csv(folder / "claims.csv", index=False)
    return folder / "claims.csv"


def test_sizes_and_accuracies_by_scale():
    assert sizes(ACCURACY) == [
        dict(scale="base", role="reward model", number=2, parameters=41_234, low=0.61, high=0.65),
        dict(scale="xxl", role="evaluator", number=1, parameters=320_000, low=0.7, high=0.7),
    ]


def test_claims_are_read_and_counted(tmp_path):
    claims = read_claims(claims_table(tmp_path))
    assert list(claims[0]) == COLUMNS
    assert claims[0]["low"] == 0.25 and claims[1]["low"] is None
    assert tally(claims) == {"supported": 1, "contradicted": 0, "undecided": 1}
    groups = grouped(claims)
    assert [len(rows) for rows in groups["paper"]] == [2]
    assert len(groups["ours"]) == len(groups["numbers"]) == 1


def test_what_the_recipe_chose_is_counted_apart_whatever_its_verdict(tmp_path):
    claims = read_claims(claims_table(tmp_path, chosen_by_recipe=[True, False, True, True]))
    counts = {"supported": 0, "contradicted": 0, "undecided": 1, CHOSEN: 1}
    assert tally(claims) == counts
    claims = read_claims(claims_table(tmp_path, chosen_by_recipe=[False, True, True, True]))
    assert tally(claims) == counts | {"supported": 1, "undecided": 0}


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (9.0, "about 9 pretraining seeds would decide this"),
        (1000.0, "about 1,000 pretraining seeds would decide this"),
        (1001.0, "more than 1,000 pretraining seeds would be needed"),
        (float("inf"), "needs more posts too: at these, even infinitely many pretraining seeds"),
    ],
)
def test_what_number_of_seeds_would_decide(needed, words):
    assert seeds_in_words(needed).startswith(words)


def test_what_is_no_table_of_claims_is_named(tmp_path):
    (tmp_path / "claims.csv").write_text("claim,verdict\nx,yes\n")
    with pytest.raises(ArtifactError, match=r"claims\.csv: not a table of claims"):
        read_claims(tmp_path / "claims.csv")


def model(folder, **provenance):
    """The folder of a model that was trained here."""
    folder.mkdir(parents=True)
    (folder / "training.csv").write_text("step,loss\n1,2.0\n")
    (folder / "provenance.json").write_text(json.dumps({"parameters": 7, **provenance}))
    return folder


def test_what_trained_is_listed_by_kind_of_machine(tmp_path):
    old = {"name": "Old <CPU>", "instructions": "AVX2", "cpus": 2}
    new = {"name": "New CPU", "instructions": "AVX512", "cpus": 64}
    folders = [model(tmp_path / f"new{seed}", trained_on=new) for seed in range(3)]
    folders += [model(tmp_path / f"old{seed}", trained_on=old) for seed in range(2)]
    folders += [model(tmp_path / "before"), model(tmp_path / "gpu", trained_on={"name": "A GPU"})]
    imported = model(tmp_path / "imported")
    (imported / "training.csv").unlink()
    assert trained_on([*folders, imported]) == [
        ("New CPU (AVX-512, 64 CPUs)", 3),
        ("Old <CPU> (AVX2, 2 CPUs)", 2),
        ("not recorded", 1),
        ("A GPU", 1),
    ]


@pytest.mark.parametrize("odd", [None, "a CPU", {}, []])
def test_a_machine_in_another_form_is_not_recorded(tmp_path, odd):
    assert trained_on([model(tmp_path / "a", trained_on=odd)]) == [("not recorded", 1)]


def written_overview(folder, claims, svg="<svg/>", matrix=None, words=None, absent=(), **given):
    ACCURACY.to_csv(folder / "accuracy.csv", index=False)
    (folder / "figure1.svg").write_text(svg)
    about = {"experiment": "tiny", "world": "micro_tldr", "grid": "workshop", "models": 2}
    about |= {"pretrain_seeds": 2, "finetune_seeds": 1, "aggregators": ["mean_minus_stdev"]}
    about |= {"policy": "base", "samples": 8, "best_of_n": [1, 8], "evaluator": "xxl"}
    about |= {"matrix": matrix, "words": words, "absent": absent}
    overview(
        about=about,
        accuracy=folder / "accuracy.csv",
        figures=[{"title": "Figure 1", "path": str(folder / "figure1.svg")}],
        claims=claims,
        template=PAGES / "overview.html",
        opening=folder / "opening.html",
        page=folder / "overview.html",
        **{"models": []} | given,
    )
    return (folder / "overview.html").read_text()


def test_the_overview_begins_with_the_claims(tmp_path):
    html = written_overview(tmp_path, claims_table(tmp_path))
    assert html.index("Agreement falls &lt;with&gt; n") < html.index("The question")
    assert "0.250 to 0.750" in html
    assert "nan" not in html and "None" not in html


def test_the_overview_tells_sizes_and_setting(tmp_path):
    html = written_overview(tmp_path, claims_table(tmp_path))
    assert "only 3 distinct resamples" in html
    assert "41k" in html and "220M" in html and "61.0–65.0 %" in html
    assert "mean minus stdev" in html and "tiny · not at paper scale" in html
    assert html.count("data:image/svg+xml;base64,") == 1
    assert "http" not in html


def test_of_a_matrix_from_elsewhere_both_pages_say_what_is_absent_and_nothing_of_a_policy(tmp_path):
    words = {"group": "base model", "member": "run"}
    absent = [{"title": "Figure 4", "reason": "no evaluator judges the choices"}]
    table, matrix = claims_table(tmp_path), {"has": []}
    html = written_overview(tmp_path, table, matrix=matrix, words=words, absent=absent)
    opening = (tmp_path / "opening.html").read_text()
    for page in (html, opening):
        assert "Figure 4: no evaluator judges the choices" in page
    assert "2 base models" in html and "<b>Policy" not in html and "<b>Evaluator" not in html
    assert "the matrix lacks" in opening


def test_both_pages_mark_what_the_recipe_chose(tmp_path):
    chosen = [True, False, False, False]
    html = written_overview(tmp_path, claims_table(tmp_path, chosen_by_recipe=chosen))
    opening = (tmp_path / "opening.html").read_text()
    for page in (html, opening):
        assert "<b>1</b> chosen by the recipe" in page and "<b>0</b> supported" in page
    assert html.count(f'<small class="tag">{CHOSEN}</small>') == 1
    html = written_overview(tmp_path, claims_table(tmp_path))
    assert CHOSEN not in (html + (tmp_path / "opening.html").read_text()).lower()


def test_the_overview_says_how_many_seeds_would_decide(tmp_path):
    needed = [None, 12.0, float("inf"), None]
    html = written_overview(tmp_path, claims_table(tmp_path, pretraining_seeds_needed=needed))
    assert html.count("<small>about 12 pretraining seeds would decide this</small>") == 1
    assert html.count("<small>needs more posts too: at these, even infinitely many") == 1
    assert "probability of 80 %" in " ".join(html.split())
    assert "inf<" not in html


def test_the_machine_stands_on_both_pages(tmp_path):
    machine = {"name": "A <b>CPU</b>", "instructions": "AVX2", "cpus": 2}
    models = [model(tmp_path / str(seed), trained_on=machine) for seed in range(2)]
    html = written_overview(tmp_path, claims_table(tmp_path), models=models)
    for page in (html, (tmp_path / "opening.html").read_text()):
        assert "A &lt;b&gt;CPU&lt;/b&gt; (AVX2, 2 CPUs)</b>, 2 models" in page


def verdicts_table(folder, **columns):
    rows = {"id": ["a", "a", "gone"], "scale": ["base", "xl", ""], "sha256": "0"}
    rows |= {"verdict": ["contradicted", "supported", "supported"]}
    pd.DataFrame(rows | columns).to_csv(folder / "verdicts.csv", index=False)
    return folder / "verdicts.csv"


def test_both_pages_compare_with_what_is_shipped(tmp_path):
    shipped = verdicts_table(tmp_path)
    html = written_overview(tmp_path, claims_table(tmp_path), shipped=shipped)
    counts = "2 verdicts 0 are the same, 1 changed to or from undecided, and 1 is reversed"
    assert counts in " ".join(html.split())
    assert counts in " ".join((tmp_path / "opening.html").read_text().split())
    assert "The 2 verdicts that changed" in html
    (tmp_path / "none").mkdir()
    shipped = verdicts_table(tmp_path / "none", verdict=["supported", "undecided", "supported"])
    html = written_overview(tmp_path / "none", claims_table(tmp_path), shipped=shipped)
    assert "all 2 verdicts are the same" in " ".join(html.split()) and "that changed" not in html


def test_the_overview_shows_markup_as_text(tmp_path):
    texts = ("claim", "place", "scale", "published", "reason", "these_models", "verdict")
    claims = claims_table(tmp_path, **dict.fromkeys(texts, MARKUP))
    shipped = verdicts_table(tmp_path, verdict=MARKUP + "!", scale=MARKUP)
    machine = {"name": MARKUP, "instructions": MARKUP, "cpus": MARKUP}
    models = [model(tmp_path / "model", trained_on=machine)]
    html = written_overview(tmp_path, claims, shipped=shipped, models=models)
    opening = (tmp_path / "opening.html").read_text()
    assert str(escape(MARKUP)) in html and str(escape(MARKUP)) in opening
    assert MARKUP not in html + opening and "<script>" not in html + opening


def test_without_a_shipped_run_nothing_is_compared(tmp_path):
    html = written_overview(tmp_path, claims_table(tmp_path))
    assert "Compared with" not in html + (tmp_path / "opening.html").read_text()


# What the report opens with


def opened(folder):
    """The report's first text as Snakemake renders it, with the overview in `folder`/report."""
    core = pytest.importorskip("docutils.core")
    overview = folder / "report/overview.html"
    record = SimpleNamespace(target=overview.name, path=overview)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    rst = environment.from_string((ROOT / "reports/workflow.rst").read_text()).render(
        snakemake=SimpleNamespace(config=config), files=[record] if overview.exists() else []
    )
    strict = {"halt_level": 2, "report_level": 2}
    return core.publish_parts(rst, writer="html", settings_overrides=strict)["html_body"]


@pytest.fixture
def finished(tmp_path):
    """The folder of an experiment with claims and an overview, whose figure is a large one."""
    folder = tmp_path / "report"
    folder.mkdir()
    svg = f"<svg>{'x' * 100_000}</svg>"
    written_overview(folder, claims_table(tmp_path), svg=svg)
    return tmp_path


def test_the_report_opens_with_the_verdicts_and_the_main_figure(finished):
    html = opened(finished)
    assert html.index("<b>1</b> supported") < html.index("The experiment")
    assert html.index("data:image/svg+xml;base64,") < html.index("The experiment")
    assert "<script" not in html


def test_numbers_older_than_the_claims_are_not_shown(finished):
    newer = (finished / "report/opening.html").stat().st_mtime + 10
    os.utime(finished / "claims.csv", (newer, newer))
    assert "supported" not in opened(finished)
    assert "The overview is older than the claims" in opened(finished)


def test_a_report_without_the_overview_opens_without_numbers(finished):
    (finished / "report/overview.html").unlink()
    assert "What came out" not in opened(finished)
