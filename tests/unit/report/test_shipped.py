"""Verdicts beside a bundle: with what they are compared, and when not."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from underspec.config.layers import read_config
from underspec.config.validation import validate
from underspec.errors import ArtifactError
from underspec.report.shipped_verdicts import against, beside, shipped_verdicts, write_verdicts

ROOT = Path(__file__).parents[3]
BUNDLE = ROOT / "bundles/miniature.zip"


def claim(scale, verdict, **other):
    row = {"id": "a", "kind": "direction", "ours": False, "claim": "A", "place": "Figure 1"}
    return row | {"scale": scale, "verdict": verdict} | other


def verdicts(*shipped, folder):
    rows = [{"id": "a", "scale": scale, "verdict": verdict} for scale, verdict in shipped]
    pd.DataFrame(rows).assign(sha256="0").to_csv(folder / "verdicts.csv", index=False)
    return folder / "verdicts.csv"


def test_changed_and_reversed_verdicts_are_counted_apart(tmp_path):
    shipped = verdicts(
        ("base", "supported"),
        ("large", "supported"),
        ("xl", "undecided"),
        ("", "contradicted"),
        ("gone", "supported"),
        folder=tmp_path,
    )
    claims = [
        claim("base", "supported"),
        claim("large", "undecided"),
        claim("xl", "contradicted"),
        claim(None, "supported"),
        claim("new", "supported"),
        claim("base", "contradicted", ours=True),
        claim("base", "contradicted", kind="number"),
    ]
    found = against(claims, shipped)
    changed = [(row["scale"], row["shipped"], row["here"]) for row in found.pop("changed")]
    assert found == {"total": 4, "same": 1, "undecided": 2, "reversed": 1}
    assert changed == [
        (None, "contradicted", "supported"),
        ("large", "supported", "undecided"),
        ("xl", "undecided", "contradicted"),
    ]


def test_a_damaged_table_of_verdicts_is_named(tmp_path):
    (tmp_path / "verdicts.csv").write_text("id,scale\na,base\n")
    with pytest.raises(ArtifactError, match=r"verdicts\.csv: not a table of verdicts"):
        against([], tmp_path / "verdicts.csv")


# When there is something to compare with


@pytest.fixture
def root(tmp_path):
    """A repository with the shipped config, its bundle and the verdicts beside it."""
    (tmp_path / "bundles").mkdir()
    shutil.copy(ROOT / "config.yaml", tmp_path)
    for path in (BUNDLE, beside(BUNDLE)):
        shutil.copy(path, tmp_path / "bundles")
    return tmp_path


def found(root, **given):
    return shipped_verdicts(root, validate(read_config(root, given=given)))


def test_the_shipped_run_is_compared_with_the_same_config(root):
    assert found(root) == root / "bundles/miniature-verdicts.csv"
    assert found(root, compute={"default": {"minutes": 7}}, estimate={"tflops": 7.0}) == found(root)


@pytest.mark.parametrize(
    "given",
    [
        {"resamples": 500},
        {"experiment": "other"},
        {"labels": {"length_bias": 0.1}},
        {"bundle": str(BUNDLE)},
    ],
    ids=lambda given: next(iter(given)),
)
def test_another_config_or_a_bundle_is_not(root, given):
    assert found(root, **given) is None


@pytest.mark.parametrize("name", ["miniature.zip", "miniature-verdicts.csv"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_nor_is_a_bundle_that_is_not_whole_or_not_that_of_the_verdicts(root, name, damage):
    path = root / "bundles" / name
    content = path.read_bytes()
    changed = {"cut": content[:20], "other": content.replace(b"2", b"3", 100_000)}
    path.unlink() if damage == "missing" else path.write_bytes(changed[damage])
    assert found(root) is None


def test_what_is_written_beside_a_bundle_goes_with_it(root):
    claims = [claim("base", "supported"), claim("base", "supported", ours=True)]
    written = write_verdicts(claims, root / "bundles/miniature.zip")
    assert found(root) == written
    assert against(claims, written)["same"] == against(claims, written)["total"] == 1
