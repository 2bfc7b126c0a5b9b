"""The tables that are CSV files: names are text, even if they look like numbers."""

from pathlib import Path

import pandas as pd

from underspec.artifacts import MAKE, REMAKE, atomic
from underspec.errors import ArtifactError, first_line

# The columns of all tables that hold text. A scale may be called 007, 1e3 or NA: nothing here is
# guessed to be a number, or missing. What is open in such a column is "".
TEXT = ("scale", "role", "reward_model", "ranker", "ensemble", "aggregator", "judge", "pair")
TEXT += ("statistic", "component", "by", "diagnostic", "yardstick", "better", "worse")
TEXT += ("stage", "name", "path", "sha256")
TEXT += ("id", "kind", "claim", "place", "published", "verdict", "reason", "these_models")


def read_csv(path: Path | str) -> pd.DataFrame:
    """The table in a CSV file: TEXT as text, other columns as numbers, open where they are empty.

    Raises ArtifactError, naming the file, if it is missing or no CSV file.
    """
    try:
        numbers = [name for name in pd.read_csv(path, nrows=0) if name not in TEXT]
        open_where_empty = dict.fromkeys(numbers, "")
        return pd.read_csv(
            path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=open_where_empty
        )
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {MAKE}") from None
    except pd.errors.EmptyDataError:
        raise ArtifactError(f"{path}: has no rows, not even names of columns; {REMAKE}") from None
    except (OSError, ValueError) as error:
        cause = first_line(error)
        raise ArtifactError(f"{path}: not a whole CSV file ({cause}); {REMAKE}") from None


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write six significant digits; the file appears under its name only when it is whole."""
    with atomic(path) as unfinished:
        table.to_csv(unfinished, index=False, float_format="%.6g")
