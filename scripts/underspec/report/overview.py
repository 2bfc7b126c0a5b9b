"""What the first page of the report says: sizes, what came out for each claim, what trained."""

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from underspec.analysis.claims import COLUMNS
from underspec.analysis.reward_matrix import Provenance, read_json
from underspec.csv_files import read_csv
from underspec.errors import ArtifactError

VERDICTS = ("supported", "contradicted", "undecided")
CHOSEN = "chosen by the recipe"
MANY_SEEDS = 1000  # above this, the number of seeds that would decide is not given


def sizes(accuracy: pd.DataFrame) -> list[dict]:
    """Scale, role, number, parameters and range of held-out accuracy, of the reward models of each
    scale and the evaluator. accuracy: the table of that name."""
    groups = accuracy.groupby(["scale", "role"], sort=False)
    return [
        {
            "scale": scale,
            "role": role,
            "number": len(models),
            "parameters": int(models.parameters.max()),
            "low": float(models.accuracy.min()),
            "high": float(models.accuracy.max()),
        }
        for (scale, role), models in groups
    ]


def read_claims(path: Path) -> list[dict]:
    """The rows of claims.csv; what a row leaves open is None.

    Raises ArtifactError, naming the file, if it is no such table.
    """
    try:
        table = read_csv(path)[COLUMNS]
    except KeyError as error:
        raise ArtifactError(f"{path}: not a table of claims ({error}); delete it") from None
    return [
        {name: None if value == "" or value != value else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def grouped(claims: list[dict]) -> dict[str, list[list[dict]]]:
    """The claims as the page shows them: under `paper`, `ours` and `numbers`, a list for each
    claim with a row for each scale."""
    found: dict[str, dict[str, list[dict]]] = {"paper": {}, "ours": {}, "numbers": {}}
    for row in claims:
        group = "numbers" if row["kind"] == "number" else "ours" if row["ours"] else "paper"
        found[group].setdefault(row["id"], []).append(row)
    return {name: list(by_id.values()) for name, by_id in found.items()}


def directions(claims: list[dict]) -> list[dict]:
    """The paper's directions, a scale each: what verdicts are counted of."""
    return [claim for claim in claims if claim["kind"] == "direction" and not claim["ours"]]


def tally(claims: list[dict]) -> dict[str, int]:
    """How many of the paper's directions have each of VERDICTS. Those chosen by the recipe, if
    there are any, count as CHOSEN whatever their verdict."""
    found = [
        CHOSEN if claim["chosen_by_recipe"] else claim["verdict"] for claim in directions(claims)
    ]
    return {name: found.count(name) for name in (*VERDICTS, CHOSEN) if name in (*VERDICTS, *found)}


def seeds_in_words(needed: float) -> str:
    """What the number of pretraining seeds that would decide a claim (see `seeds_needed`) says."""
    if needed == math.inf:
        return (
            "needs more posts too: "
            "at these, even infinitely many pretraining seeds would not decide it"
        )
    if needed > MANY_SEEDS:
        return f"more than {MANY_SEEDS:,} pretraining seeds would be needed to decide this"
    return f"about {needed:,.0f} pretraining seeds would decide this"


def trained_on(folders: Iterable[Path]) -> list[tuple[str, int]]:
    """Each kind of machine that trained the models in `folders`, and how many of them, the most
    first. Models that were imported do not count; older ones may not have it recorded.
    """
    trained = [folder for folder in folders if (folder / "training.csv").exists()]
    return Counter(_machine(folder) for folder in trained).most_common()


def _machine(folder: Path) -> str:
    about = read_json(folder / "provenance.json", Provenance).get("trained_on")
    if not isinstance(about, dict) or "name" not in about:
        return "not recorded"
    if "instructions" not in about:  # a GPU
        return str(about["name"])
    instructions = str(about["instructions"]).replace("AVX512", "AVX-512")
    return f"{about['name']} ({instructions}, {about.get('cpus')} CPUs)"
