from pathlib import Path

from underspec.analysis.tables import write_csv
from underspec.checksums import checksums as checksums_of
from underspec.command import command


def checksums(*, files: list[str], output: Path) -> None:
    """Write size and SHA-256 of files; their names may hold wildcards."""
    write_csv(checksums_of(files), output)


if __name__ == "__main__":
    command(checksums)
