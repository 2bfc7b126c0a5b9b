from pathlib import Path

import pandas as pd

from underspec.checksums import checksums as checksums_of
from underspec.command import command
from underspec.csv_files import write_csv


def checksums(*, files: list[str], output: Path) -> None:
    """Write size and SHA-256 of files; their names may hold wildcards."""
    write_csv(pd.DataFrame(checksums_of(files)), output)


if __name__ == "__main__":
    command(checksums)
