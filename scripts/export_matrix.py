from pathlib import Path

from underspec.command import command
from underspec.provenance.matrix import to_folder


def export_matrix(*, bundle: Path, output: Path) -> None:
    """Write the reward matrix in a bundle as a folder of CSV files (docs/own-matrix.md)."""
    to_folder(bundle, output)


if __name__ == "__main__":
    command(export_matrix)
