"""Training curves: the logs that trainings leave in their folders, as one tidy table."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from underspec.analysis.reward_matrix import Provenance, read_json
from underspec.errors import ArtifactError
from underspec.files import MAKE

WINDOW = 0.1  # of the logged steps


def training_curves(runs: Iterable[dict]) -> pd.DataFrame:
    """One row a logged step of every training.

    runs: stage, scale, name and folder of each. `loss` is that of one batch; `smoothed` is its mean
    over the last tenth of the logged steps, fewer at the start. What was imported and not
    trained here has no log and no rows. Raises ArtifactError, naming the file, if a log cannot be
    read.
    """
    tables = [_curve(**run) for run in runs if (Path(run["folder"]) / "training.csv").exists()]
    if not tables:
        raise ArtifactError(f"no training.csv in any of the folders; {MAKE}")
    return pd.concat(tables, ignore_index=True)


def _curve(stage: str, scale: str, name: str, folder: str) -> pd.DataFrame:
    path = Path(folder) / "training.csv"
    try:
        log = pd.read_csv(path, dtype=str, keep_default_na=False)
        log = log[["step", "loss"]].astype({"step": int, "loss": float})
        if log.empty:
            raise ValueError("it has no rows")
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"{path}: not a training log ({error}); delete its folder and run Snakemake again"
        ) from None
    about = read_json(Path(folder) / "provenance.json", Provenance)
    columns = {"stage": stage, "scale": scale, "parameters": about["parameters"], "name": name}
    smoothed = log["loss"].rolling(max(1, round(WINDOW * len(log))), min_periods=1).mean()
    table = log.assign(**columns, smoothed=smoothed)
    return table[[*columns, "step", "loss", "smoothed"]]
