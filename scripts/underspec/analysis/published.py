"""The paper's own numbers: the sizes of its models and its Table 1."""

from pathlib import Path

import pandas as pd

from underspec.csv_files import read_csv
from underspec.errors import ArtifactError

PARAMETERS = {"base": 220e6, "large": 770e6, "xl": 3e9, "xxl": 11e9}
METRICS = ["reward", "reward_standard_error", "win_rate", "win_rate_standard_error"]
KIND = ["scale", "ensemble", "aggregator"]


def kind_name(ensemble: str, aggregator: str, rule: str = "best_of_n") -> str:
    """A kind of ranker as quantities name it: "single", "pretrain mean", "single soft", ..."""
    named = [name for name in (aggregator, rule) if name not in ("single", "best_of_n")]
    return " ".join([ensemble, *named])


def at_paper_scale(scale: str, parameters: float) -> bool:
    """Whether a model has the published number of parameters of its scale, or nearly so.

    "Nearly" is nine tenths: T5 sizes are quoted rounded up (large has 738M, not 770M).
    """
    return scale in PARAMETERS and parameters >= 0.9 * PARAMETERS[scale]


def read_table1(path: Path) -> pd.DataFrame:
    """The paper's Table 1. Raises ArtifactError, naming the file, if it is not that table."""
    try:
        return read_csv(path)[[*KIND, *METRICS]].astype(dict.fromkeys(METRICS, float))
    except (ArtifactError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path}: not the published Table 1 ({error}); restore it") from None
