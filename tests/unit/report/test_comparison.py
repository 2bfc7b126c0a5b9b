"""Verdicts of several runs side by side."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from compare import compare
from underspec.analysis.claims import read_claims
from underspec.errors import ArtifactError, ConfigError
from underspec.report.comparison import (
    CHANGES,
    CHOSEN,
    IN_ONE,
    NARROW,
    about,
    change,
    markdown,
    read_verdicts,
    run_names,
)
from underspec.report.overview import VERDICTS

ROOT = Path(__file__).parents[3]
SCALES = ["base", "large", "xl", "007", ""]


def claims(folder, verdicts, scales=SCALES, name="claims.csv", **columns):
    """A table of claims with a verdict at each scale."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {"id": "a", "kind": "direction", "claim": "A | B", "place": "Figure 1", "ours": False}
    table = pd.DataFrame([rows] * len(verdicts)).assign(scale=scales, verdict=verdicts)
    table = table.assign(estimate=0.1, low=0.05, high=0.15, chosen_by_recipe=False)
    table = table.assign(**columns)
    table.to_csv(folder / name, index=False)
    return folder / name


FIRST = ["supported", "supported", "undecided", "contradicted", "contradicted"]
SECOND = ["supported", "undecided", "contradicted", "supported", "contradicted"]


@pytest.fixture
def paths(tmp_path):
    return [claims(tmp_path / "one", FIRST), claims(tmp_path / "two", SECOND)]


@pytest.mark.parametrize("before", VERDICTS)
@pytest.mark.parametrize("after", VERDICTS)
def test_every_pair_of_verdicts_is_one_change(before, after):
    kind = change(before, after)
    assert kind in CHANGES
    assert (kind == "the same") == (before == after)
    assert (kind == "reversed") == (before != after and "undecided" not in (before, after))
    assert (kind == "changed to undecided") == (before != "undecided" == after)


def read(paths):
    return dict(zip(run_names(paths), map(read_verdicts, paths), strict=True))


def row(claim, scales, *marks):
    """A row of the table; marks do not break across lines."""
    return f"| {' | '.join([claim, scales, *(each.replace(' ', NARROW) for each in marks)])} |"


def test_two_runs(paths):
    text = markdown(read(paths))
    assert "| claim | scales | one | two |\n| --- | --- | --- | --- |\n" in text
    assert row("A &#124; B", "base, large, xl, 007, ", "✓ ✓ ? ✗ ✗", "✓ ? ✗ ✓ ✗") in text
    assert "- one: 2 supported, 2 contradicted, 1 undecided" in text
    counts = "2 the same, 1 changed to undecided, 1 decided from undecided, 1 reversed"
    *_, line, first, second, third = text.splitlines()
    assert line == f"- from one to two: {counts}, 0 {CHOSEN}, 0 {IN_ONE}"
    assert first == "  - changed to undecided: A | B, large"
    assert second == "  - decided from undecided: A | B, xl"
    assert third == "  - reversed: A | B, 007"


def test_three_runs_have_no_change(paths, tmp_path):
    text = markdown(read([*paths, claims(tmp_path / "three", FIRST)]))
    assert "| claim | scales | one | two | three |" in text
    assert "from one" not in text and "reversed" not in text


def test_what_one_run_lacks_or_a_recipe_chose_is_no_change(tmp_path):
    one = claims(tmp_path / "one", FIRST[:2], SCALES[:2], chosen_by_recipe=True)
    two = claims(tmp_path / "two", SECOND[:1] + SECOND[2:3], [SCALES[0], SCALES[2]])
    text = markdown(read([one, two]))
    assert row("A &#124; B", "base, large, xl", "(✓ ✓ –)", "✓ – ✗") in text
    unchanged = ", ".join(f"0 {kind}" for kind in CHANGES)
    assert text.endswith(f"- from one to two: {unchanged}, 1 {CHOSEN}, 2 {IN_ONE}\n")


def test_a_claim_that_a_run_lacks_altogether_leaves_its_cell_empty(tmp_path):
    one = claims(tmp_path / "one", FIRST[:2], SCALES[:2])
    two = claims(tmp_path / "two", FIRST[:1], SCALES[:1], id="b", claim="C")
    text = markdown(read([one, two]))
    assert row("A &#124; B", "base, large", "✓ ✓", "") in text
    assert row("C", "base", "", "✓") in text


def test_only_the_papers_directions_are_compared(tmp_path):
    path = claims(
        tmp_path,
        FIRST[:3],
        SCALES[:3],
        ours=[False, True, False],
        kind=["direction", "direction", "number"],
    )
    rows = read_verdicts(path)
    assert [row["scale"] for row in rows] == ["base", "large"]
    assert row("A &#124; B", "base", "✓", "✓") in markdown({"one": rows, "two": rows})


def test_a_table_of_an_earlier_version_is_read(tmp_path):
    path = claims(tmp_path, FIRST)
    pd.read_csv(path).drop(columns="chosen_by_recipe").to_csv(path, index=False)
    assert [row["verdict"] for row in read_verdicts(path)] == FIRST


DAMAGE = {
    "no column": (lambda table: table.drop(columns="verdict"), "no column verdict"),
    "another verdict": (lambda table: table.assign(verdict="yes"), "no such verdict: 'yes'"),
    "no verdict": (lambda table: table.assign(verdict=""), "no such verdict: ''"),
    "no rows": (lambda table: table.iloc[:0], "no claim of the papers"),
    "twice": (lambda table: pd.concat([table, table]), "'a' is there twice"),
    "ours left open": (
        lambda table: table.assign(ours=[False, None, False, True, False]),
        "ours is neither True nor False",
    ),
    "chosen left open": (
        lambda table: table.assign(chosen_by_recipe=[False, None, False, True, False]),
        "chosen_by_recipe is neither True nor False",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_no_table_of_claims_is_named_with_the_cure(tmp_path, damage, message):
    path = claims(tmp_path, FIRST)
    damage(pd.read_csv(path, keep_default_na=False)).to_csv(path, index=False)
    with pytest.raises(ArtifactError, match=r"claims\.csv: not a table of claims") as caught:
        read_verdicts(path)
    assert message in str(caught.value)
    assert str(caught.value).endswith("; give the claims.csv of an experiment")


def test_runs_are_named_by_their_folders_or_else_by_their_paths(tmp_path):
    paths = [tmp_path / "a" / "claims.csv", tmp_path / "b" / "claims.csv"]
    assert run_names(paths) == ["a", "b"]
    paths.append(tmp_path / "c" / "a" / "claims.csv")
    assert run_names(paths) == [str(path) for path in paths]


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"], ["a", "b", "a"]])
def test_fewer_than_two_different_tables_are_refused(names):
    with pytest.raises(ConfigError, match="at least two"):
        run_names([Path(name) for name in names])


def test_the_command_prints_or_writes(paths, tmp_path, capsys):
    compare(claims=paths)
    printed = capsys.readouterr().out
    compare(claims=paths, output=tmp_path / "made" / "verdicts.md")
    assert (tmp_path / "made" / "verdicts.md").read_text() == printed
    compare(claims=paths, output=tmp_path / "verdicts.csv")
    written = pd.read_csv(tmp_path / "verdicts.csv", keep_default_na=False, dtype=str)
    assert list(written.scale) == SCALES * 2
    with pytest.raises(ConfigError, match=r"--output: .*\.txt ends in none of \.md"):
        compare(claims=paths, output=tmp_path / "verdicts.txt")


def test_the_page_and_the_table_hold_every_claim_of_every_experiment(tmp_path):
    """Estimates and intervals as they are, empty where an experiment lacks the claim; a report has
    a link if it is there."""
    one = claims(tmp_path / "one", FIRST, estimate=[0.1, -0.2, math.nan, 0.0, 0.3])
    two = claims(
        tmp_path / "two", SECOND[:2], SCALES[:2], id="RLHF, b", place="the long paper, RLHF"
    )
    config = {"world": "micro_tldr", "reward": "pointwise"}
    (tmp_path / "two" / "manifest.json").write_text(json.dumps({"config": config}))
    (tmp_path / "one.html").touch()
    compare(claims=[one, two], output=tmp_path / "all.csv", reports=tmp_path)
    table = pd.read_csv(tmp_path / "all.csv", keep_default_na=False, dtype=str)
    assert list(table.experiment) == ["one"] * 5 + ["two"] * 2
    assert list(table.estimate) == ["0.1", "-0.2", "", "0", "0.3", "0.1", "0.1"]
    assert table.groupby("experiment").task.unique().str.join("").to_dict() == {
        "one": "unknown",
        "two": "micro_tldr, pointwise",
    }
    assert list(table.paper.unique()) == ["the workshop paper", "the long paper"]
    assert list(table.alignment.unique()) == ["best-of-n or none", "RLHF"]
    compare(claims=[one, two], output=tmp_path / "all.html", reports=tmp_path)
    page = (tmp_path / "all.html").read_text()
    assert page.count('<tr class="row">') == 7
    assert '<a href="one.html">one</a>' in page and '<a href="two.html">' not in page
    assert "−0.200 [0.050, 0.150]" in page and "nan" not in page


def test_a_claim_has_the_alignment_that_its_quantities_are_about():
    """The page knows claims about RLHF by their ids."""
    for claim in read_claims(ROOT / "reports" / "claims.yaml"):
        about_rlhf = "'RLHF " in str([claim.more, claim.less])
        found = about({"id": claim.id, "place": claim.place})
        assert (found["alignment"] == "RLHF") == about_rlhf, claim.id
        assert found["section"]


def test_a_claim_is_of_the_paper_that_its_place_names():
    """No place is taken for another paper's by a slip: those have a year."""
    for claim in read_claims(ROOT / "reports" / "claims.yaml"):
        found = about({"id": claim.id, "place": claim.place})
        has_year = bool(re.search(r"\b(19|20)\d\d\)", claim.place))
        assert (found["paper"] == "other papers") == has_year, claim.id
