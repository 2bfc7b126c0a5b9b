"""What the first page of the report says: sizes, and what came out for each claim."""

from pathlib import Path

import pandas as pd

from underspec.claims import COLUMNS
from underspec.csv_files import read_csv
from underspec.errors import ArtifactError

VERDICTS = ("supported", "contradicted", "undecided")


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


def tally(claims: list[dict]) -> dict[str, int]:
    """How many of the paper's directions, a scale each, have each of VERDICTS."""
    found = [c["verdict"] for c in claims if c["kind"] == "direction" and not c["ours"]]
    return {name: found.count(name) for name in VERDICTS}
