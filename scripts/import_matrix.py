from pathlib import Path

from underspec.command import command
from underspec.config.layers import merged
from underspec.errors import UserError
from underspec.provenance.matrix import to_bundle
from underspec.yaml_map import read_map


def import_matrix(*, matrix: Path, output: Path) -> None:
    """Check the reward matrix in a folder (docs/own-matrix.md) and write it as a bundle."""
    if not matrix.is_dir():
        raise UserError(f"{matrix}: no such folder; correct its path")
    own = matrix / "config.yaml"
    overlay = read_map(own) if own.is_file() else {}
    to_bundle(matrix, output, lambda config: merged(config, overlay))


if __name__ == "__main__":
    command(import_matrix)
