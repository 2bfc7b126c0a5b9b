"""Reads and writes tables in CSV files; names are text, even if they look like numbers."""

from pathlib import Path

import pandas as pd

from underspec.errors import ArtifactError, first_line
from underspec.files import MAKE, REMAKE, atomic

# The text columns of all tables. A scale may be called 007, 1e3 or NA, so these columns are never
# parsed as numbers or missing values; an empty cell is "".
TEXT = ("scale", "role", "reward_model", "ranker", "ensemble", "aggregator", "judge", "pair")
TEXT += ("statistic", "component", "by", "diagnostic", "better", "worse")
TEXT += ("minus", "end", "over", "members", "at", "measure", "part", "feature")
TEXT += ("difficulty", "right", "wrong", "domain")
TEXT += ("stage", "name", "path", "sha256", "rule", "course")
TEXT += ("id", "kind", "claim", "place", "published", "verdict", "reason", "these_models")


def read_csv(path: Path | str) -> pd.DataFrame:
    """The table in a CSV file: TEXT columns as text, others as numbers, NaN in empty cells.

    Raises ArtifactError, naming the file, if it is missing or not a CSV file.
    """
    try:
        numbers = [name for name in pd.read_csv(path, nrows=0) if name not in TEXT]
        missing = dict.fromkeys(numbers, "")
        return pd.read_csv(
            path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=missing
        )
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {MAKE}") from None
    except pd.errors.EmptyDataError:
        raise ArtifactError(f"{path}: has no rows and no header; {REMAKE}") from None
    except (OSError, ValueError) as error:
        cause = first_line(error)
        raise ArtifactError(f"{path}: not a whole CSV file ({cause}); {REMAKE}") from None


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write six significant digits; the file appears under its name only when it is whole."""
    with atomic(path) as unfinished:
        table.to_csv(unfinished, index=False, float_format="%.6g")
