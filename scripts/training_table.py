from pathlib import Path
from typing import Annotated

from underspec.command import command
from underspec.config import sections
from underspec.csv_files import write_csv
from underspec.report.training_curves import training_curves


def training_table(*, runs: list[Annotated[dict, sections.Run]], output: Path) -> None:
    """Write the training curves of every model as one table.

    runs: stage, scale, name and folder of each.
    """
    write_csv(training_curves(runs), output)


if __name__ == "__main__":
    command(training_table)
