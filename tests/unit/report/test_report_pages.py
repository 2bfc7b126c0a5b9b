"""The pages of the report: what they say, from tables and files as small as can be."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import jinja2
import numpy as np
import pandas as pd
import pytest
import yaml
from markupsafe import Markup, escape

from data_card import data_card
from manifest import manifest as write_manifest
from overview import overview
from training_table import training_table
from underspec.analysis.claims import COLUMNS
from underspec.artifacts import POSTS, PREFERENCES, SAMPLES, write_table
from underspec.checksums import checksums
from underspec.data import worlds
from underspec.errors import ArtifactError
from underspec.provenance import manifest
from underspec.report.data_card import card, compared, duplicates, examples, lengths, read_left_out
from underspec.report.overview import grouped, read_claims, sizes, tally, trained_on
from underspec.report.pages import embedded, human_bytes, write_page
from underspec.report.training_curves import training_curves

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


# Pages as such


def test_text_is_escaped_and_a_missing_value_is_an_error(tmp_path):
    (tmp_path / "page.html").write_text("<p>{{ text }}</p>")
    write_page(tmp_path / "page.html", tmp_path / "out" / "page.html", text="<i>&")
    assert (tmp_path / "out" / "page.html").read_text() == "<p>&lt;i&gt;&amp;</p>"
    with pytest.raises(jinja2.UndefinedError):
        write_page(tmp_path / "page.html", tmp_path / "page2.html")


MARKUP = """<b>a</b> & </script><script>b()</script> "c" </pre></td>"""


def check_escaped(html, times=1):
    """MARKUP stands in the page as text, and nowhere as markup."""
    assert html.count(str(escape(MARKUP))) == times
    assert MARKUP not in html and "<script>b" not in html


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "ünï\u2028", 'a "b" \\ c'])
def test_embedded_text_ends_no_script(text):
    script = embedded({"text": text})
    assert isinstance(script, Markup) and "<" not in script
    assert json.loads(script) == {"text": text}


def test_embedded_numbers_are_finite():
    with pytest.raises(ValueError):
        embedded(float("nan"))


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (1_234, "1.23 kB"), (25.3e9, "25.3 GB")]
)
def test_sizes_of_files(count, words):
    assert human_bytes(count) == words


# Training curves


def run(folder, losses, stage="pretrain", scale="base"):
    folder.mkdir(parents=True)
    log = pd.DataFrame({"step": np.arange(1, len(losses) + 1), "loss": losses, "rate": 0.1})
    log.to_csv(folder / "training.csv", index=False)
    (folder / "provenance.json").write_text('{"parameters": 7}')
    return {"stage": stage, "scale": scale, "name": folder.name, "folder": str(folder)}


def test_curves_of_all_trainings_in_one_table(tmp_path):
    runs = [run(tmp_path / "seed0", range(20)), run(tmp_path / "policy", [3.0], "policy", "xl")]
    training_table(runs=runs, output=tmp_path / "training.csv")
    table = pd.read_csv(tmp_path / "training.csv")
    assert list(table.columns) == [
        "stage",
        "scale",
        "parameters",
        "name",
        "step",
        "loss",
        "smoothed",
    ]
    assert len(table) == 21 and set(table.parameters) == {7}
    assert list(table.smoothed[:3]) == [0.0, 0.5, 1.5]  # two of twenty steps, one at first
    assert table.iloc[-1][["stage", "name", "smoothed"]].tolist() == ["policy", "policy", 3.0]


def test_an_imported_pretrain_has_no_curve(tmp_path):
    imported = run(tmp_path / "seed1", [1.0])
    (tmp_path / "seed1" / "training.csv").unlink()
    assert set(training_curves([imported, run(tmp_path / "seed0", [1.0])]).name) == {"seed0"}


def test_a_damaged_log_is_named(tmp_path):
    damaged = run(tmp_path / "seed0", [1.0])
    (tmp_path / "seed0" / "training.csv").write_text("step\n1\n")
    with pytest.raises(ArtifactError, match=r"seed0/training\.csv: not a training log"):
        training_curves([damaged])


# Data card

TEXTS = pd.Series(["a", "a b", "a b c", ""])


@pytest.mark.parametrize("world", worlds.names())
def test_every_world_says_what_it_is_and_its_licence(world):
    paragraphs = card(world)
    assert len(paragraphs) > 1
    assert paragraphs[-1].startswith("Licence: ")
    assert not [paragraph for paragraph in paragraphs if "\n" in paragraph or "  " in paragraph]


def test_lengths_are_in_words():
    assert lengths(TEXTS) == {"count": 4, "words": [0, 1, 2, 3]}


def test_duplicates_are_within_a_post():
    samples = pd.DataFrame({"post_id": list("ppqq"), "text": ["x", "x", "x", "y"]})
    assert duplicates(samples) == 0.25


def preferences(**columns):
    rows = {"post_id": ["p", "q"], "split": "preferences", "source": "people"}
    return pd.DataFrame(rows | columns)


def test_how_often_the_longer_text_is_chosen():
    table = preferences(chosen=["a b", "a"], rejected=["a", "b"])
    (row,) = compared(table)
    assert row["count"] == 2 and row["longer"] == row["equal"] == 0.5


def test_examples_hold_post_and_reference():
    posts = pd.DataFrame({"post_id": ["q", "p"], "post": ["Q", "P"], "reference": ["q", "p"]})
    found = examples(posts, preferences(chosen="c", rejected="r"))
    assert {row["post"] for row in found} <= {"P", "Q"}
    assert all(row["post"].lower() == row["post_id"] == row["reference"] for row in found)


def test_the_data_card(tmp_path):
    posts = pd.DataFrame({"post_id": ["p", "q"], "split": "preferences", "post": "<x> y"})
    posts.attrs["dropped"] = {"TL;DR train": {"without id or post": 5678}, "policy": {}}
    write_table(posts.assign(reference="z"), tmp_path / "posts.parquet", POSTS)
    (tmp_path / "0.json").write_text('{"documents that were empty": 4321}')
    table = preferences(chosen=["a b", "a"], rejected=["a", "b"])
    table.attrs["dropped"] = {"preferences": {"of equal texts": 1234}, "validation": {}}
    write_table(table, tmp_path / "preferences.parquet", PREFERENCES)
    samples = pd.DataFrame({"post_id": ["p", "p"], "sample_index": [0, 1], "text": "same"})
    write_table(samples.assign(log_prob=0.0), tmp_path / "best_of_n.parquet", SAMPLES)
    np.save(tmp_path / "0.npy", np.zeros(1234, dtype=np.uint16))
    data_card(
        worlds=["tldr", "c4"],
        posts=tmp_path / "posts.parquet",
        preferences=tmp_path / "preferences.parquet",
        samples={"best_of_n": tmp_path / "best_of_n.parquet"},
        tokens=[tmp_path / "0.npy"],
        experiment="tiny",
        left_out_text=[tmp_path / "0.json"],
        template=PAGES / "data_card.html",
        output=tmp_path / "card.html",
    )
    html = (tmp_path / "card.html").read_text()
    assert "&lt;x&gt; y" in html and "<x>" not in html
    assert "1,234 tokens" in html and "50.0 %" in html
    assert "Left out: 1,234 of equal texts (preferences)." in html
    assert "Posts left out: 5,678 without id or post (TL;DR train)." in html
    assert "Of the pretraining text: 4,321 documents that were empty." in html
    assert "modified MIT" in html and "ODC-BY" in html
    for file in ("posts.parquet", "preferences.parquet", "best_of_n.parquet", "0.npy"):
        assert hashlib.sha256((tmp_path / file).read_bytes()).hexdigest() in html


def test_the_data_card_shows_markup_as_text(tmp_path):
    write_page(
        PAGES / "data_card.html",
        tmp_path / "card.html",
        cards={MARKUP: [MARKUP]},
        quantiles=[0.5],
        lengths=[{"kind": MARKUP, "split": MARKUP, "count": 1, "words": [1]}],
        tokens=1,
        preferences=[{"split": MARKUP, "source": MARKUP, "count": 1, "longer": 0.0, "equal": 0.0}],
        left_out={
            "posts": [{"count": 1, "reason": MARKUP, "split": MARKUP}],
            "comparisons": [{"count": 1, "reason": MARKUP, "split": MARKUP}],
            "text": {MARKUP: 1},
        },
        examples=[dict.fromkeys(("post", "reference", "chosen", "rejected"), MARKUP)],
        files=[{"path": MARKUP, "bytes": 1, "sha256": MARKUP}],
        face=MARKUP,
    )
    check_escaped((tmp_path / "card.html").read_text(), times=18)


# Checksums and manifest


def test_checksums_of_files_and_wildcards(tmp_path):
    for name in ("model-2.safetensors", "model-1.safetensors", "config.json"):
        (tmp_path / name).write_bytes(name.encode() * 100_000)
    table = checksums([f"{tmp_path}/*.safetensors", f"{tmp_path}/config.json"])
    assert [Path(path).name for path in table.path] == [
        "model-1.safetensors",
        "model-2.safetensors",
        "config.json",
    ]
    for row in table.itertuples():
        assert row.bytes == Path(row.path).stat().st_size
        assert row.sha256 == hashlib.sha256(Path(row.path).read_bytes()).hexdigest()


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"none/\*\.safetensors: no such file"):
        checksums([f"{tmp_path}/none/*.safetensors"])


def benchmark(seconds, cpu):
    return pd.DataFrame({"s": [seconds], "cpu_time": [cpu]})


def test_time_by_stage():
    stages = manifest.by_stage(
        {
            "policy.tsv": benchmark(3.0, 2.0),
            "pretrain/base/seed0.tsv": benchmark(5.0, 4.0),
            "pretrain/xl/seed0.tsv": benchmark(7.0, float("nan")),
        }
    )
    assert stages == [
        {"stage": "pretrain", "jobs": 2, "seconds": 12.0, "cpu_seconds": 4.0},
        {"stage": "policy", "jobs": 1, "seconds": 3.0, "cpu_seconds": 2.0},
    ]
    assert manifest.by_stage({}) == []


def test_pins_of_requirements():
    texts = ["# remark\n-r other.txt\nnumpy==2.4\nPyYAML==6\n", "numpy==2.4\n"]
    assert manifest.pinned(texts) == ["numpy", "pyyaml"]


def test_versions_of_what_is_installed_and_what_is_not():
    found = manifest.versions(["numpy", "no-such-package"])
    assert found == {"numpy": np.__version__, "no-such-package": None}


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_and_whether_files_differ_from_it(tmp_path):
    none = {"commit": None, "dirty": None}
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    assert manifest.checkout(root) == none
    git(root, "init", "-q")
    assert manifest.checkout(root) == none  # no commit yet
    (root / "file").write_text("1")
    git(root, "add", "file")
    git(root, "commit", "-qm", "first")
    commit = git(root, "rev-parse", "HEAD")
    assert manifest.checkout(root) == {"commit": commit, "dirty": False}
    (root / "results").write_text("not tracked")
    assert manifest.checkout(root) == {"commit": commit, "dirty": False}
    (root / "file").write_text("2")
    assert manifest.checkout(root) == {"commit": commit, "dirty": True}
    assert manifest.checkout(root / "inside") == none
    assert manifest.checkout(tmp_path / "missing") == none


def test_this_machine():
    machine = manifest.this_machine()
    assert machine["cpus"] >= 1 and machine["memory_bytes"] > 1e8 and machine["processor"]


def test_the_manifest_says_the_same_as_its_page(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    benchmark(3.0, 2.5).to_csv(tmp_path / "benchmarks" / "policy.tsv", sep="\t", index=False)
    (tmp_path / "env.txt").write_text("numpy==1\nno-such-package==1\n")
    files = pd.DataFrame({"path": ["data/posts.parquet"], "bytes": [1000], "sha256": ["ab" * 32]})
    files.to_csv(tmp_path / "checksums.csv", index=False)
    config = {"experiment": "tiny", "nested": {"key": [1, 2]}, "nothing": None}
    write_manifest(
        config=config,
        environments=[tmp_path / "env.txt"],
        checksums=tmp_path / "checksums.csv",
        benchmarks=tmp_path / "benchmarks",
        experiment="tiny",
        template=PAGES / "manifest.html",
        page=tmp_path / "report" / "manifest.html",
        merged_config=tmp_path / "config.yaml",
        manifest=tmp_path / "manifest.json",
    )
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert written["config"] == yaml.safe_load((tmp_path / "config.yaml").read_text()) == config
    assert written["cpu_seconds"] == 2.5
    assert written["files"] == files.to_dict("records")
    html = (tmp_path / "report" / "manifest.html").read_text()
    for word in ("ab" * 32, "data/posts.parquet", np.__version__, "not in the environment"):
        assert word in html


def test_the_manifest_shows_markup_as_text(tmp_path):
    write_page(
        PAGES / "manifest.html",
        tmp_path / "manifest.html",
        run={
            "code": {"commit": MARKUP, "dirty": False},
            "machine": dict.fromkeys(("python", "platform", "processor", "cpus"), MARKUP)
            | {"memory_bytes": 1},
            "stages": [{"stage": MARKUP, "jobs": 1, "seconds": 1.0, "cpu_seconds": 1.0}],
            "cpu_seconds": 1.0,
            "files": [{"path": MARKUP, "bytes": 1, "sha256": MARKUP}],
            "packages": {MARKUP: MARKUP},
        },
        config=MARKUP,
        face=MARKUP,
    )
    check_escaped((tmp_path / "manifest.html").read_text(), times=12)


# Overview


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


def test_what_trained_is_told_by_kind_of_machine(tmp_path):
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


def written_overview(folder, claims, svg="<svg/>", **given):
    ACCURACY.to_csv(folder / "accuracy.csv", index=False)
    (folder / "figure1.svg").write_text(svg)
    about = {"experiment": "tiny", "world": "micro_tldr", "grid": "workshop", "models": 2}
    about |= {"pretrain_seeds": 2, "finetune_seeds": 1, "aggregators": ["mean_minus_stdev"]}
    about |= {"policy": "base", "samples": 8, "best_of_n": [1, 8], "evaluator": "xxl"}
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


def test_a_template_that_is_not_there(tmp_path):
    with pytest.raises(ArtifactError, match=r"gone\.html: no such template"):
        write_page(tmp_path / "gone.html", tmp_path / "page.html")


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": "many"}', '{"a": 1, "a": 2}'])
def test_counts_of_what_was_left_out_that_cannot_be_read(tmp_path, text):
    (tmp_path / "0.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"0\.json: .*; delete the folder") as caught:
        read_left_out([tmp_path / "0.json"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "log",
    [
        "",
        "step,loss\n",
        "step\n0\n",
        "step,loss\n0,high\n",
        "step,loss\n0,0.7\n100,\n",  # cut
        "step,loss\n0,0.7\n\0\0\0\0,\n",
        "step,loss\n0.5,0.7\n",
        b"step,loss\n0,\xff\n",
    ],
)
def test_a_training_log_that_is_not_whole(tmp_path, log):
    entry = run(tmp_path / "seed0", [1.0])
    (tmp_path / "seed0/training.csv").write_bytes(log if isinstance(log, bytes) else log.encode())
    with pytest.raises(ArtifactError, match=r"training\.csv: not a training log") as caught:
        training_curves([entry])
    assert "\n" not in str(caught.value)


def test_a_training_that_diverged_has_a_log_all_the_same(tmp_path):
    entry = run(tmp_path / "seed0", [1.0])
    (tmp_path / "seed0/training.csv").write_text("step,loss\n0,0.7\n1,nan\n2,inf\n")
    assert list(training_curves([entry]).step) == [0, 1, 2]


@pytest.mark.parametrize("parameters", ['"many"', "0", "null", "1.5"])
def test_a_model_of_no_size(tmp_path, parameters):
    entry = run(tmp_path / "seed0", [1.0])
    (tmp_path / "seed0/provenance.json").write_text(f'{{"parameters": {parameters}}}')
    with pytest.raises(ArtifactError, match=r"provenance\.json: parameters: .* is not allowed"):
        training_curves([entry])
