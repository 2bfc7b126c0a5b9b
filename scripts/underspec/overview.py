"""What the first page of the report says: sizes, and what came out for each claim."""

from pathlib import Path

import pandas as pd

from underspec.errors import ArtifactError

CLAIMS = ["claim", "place", "scale", "published", "estimate", "low", "high", "verdict", "reason"]
VERDICTS = ("yes", "no", "undecided")


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
        table = pd.read_csv(path, dtype={"published": str})[CLAIMS]
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path}: not a table of claims ({error}); delete it") from None
    return [
        {name: None if value != value else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def tally(claims: list[dict]) -> dict[str, int]:
    """How many claims have each verdict, those of VERDICTS first."""
    found = [claim["verdict"] for claim in claims]
    return {name: found.count(name) for name in dict.fromkeys([*VERDICTS, *found])}
