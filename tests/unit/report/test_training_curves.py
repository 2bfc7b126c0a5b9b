"""The table of training curves, from logs as small as can be."""

import numpy as np
import pandas as pd
import pytest

from training_table import training_table
from underspec.errors import ArtifactError
from underspec.report.training_curves import training_curves


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


def test_an_imported_checkpoint_has_no_curve(tmp_path):
    imported = run(tmp_path / "seed1", [1.0])
    (tmp_path / "seed1" / "training.csv").unlink()
    assert set(training_curves([imported, run(tmp_path / "seed0", [1.0])]).name) == {"seed0"}


def test_a_damaged_log_is_named(tmp_path):
    damaged = run(tmp_path / "seed0", [1.0])
    (tmp_path / "seed0" / "training.csv").write_text("step\n1\n")
    with pytest.raises(ArtifactError, match=r"seed0/training\.csv: not a training log"):
        training_curves([damaged])


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
