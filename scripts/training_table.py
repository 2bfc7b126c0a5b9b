from pathlib import Path

from underspec.command import command
from underspec.curves import training_curves


def training_table(*, runs: list[dict], output: Path) -> None:
    """Write the training curves of every model as one table.

    runs: stage, scale, name and folder of each.
    """
    training_curves(runs).to_csv(output, index=False, float_format="%.6g")


if __name__ == "__main__":
    command(training_table)
