from pathlib import Path
from typing import Annotated

from underspec.command import command
from underspec.csv_files import write_csv
from underspec.report.training_curves import training_curves
from underspec.schema import Name, Section, Text


class Run(Section):
    """A training and its folder."""

    stage: Text
    scale: Name
    name: Text
    folder: Text


def training_table(*, runs: list[Annotated[dict, Run]], output: Path) -> None:
    """Write the training curves of every model as one table.

    runs: stage, scale, name and folder of each.
    """
    write_csv(training_curves(runs), output)


if __name__ == "__main__":
    command(training_table)
