from pathlib import Path

from underspec.checksums import checksums as checksums_of
from underspec.command import command


def checksums(*, files: list[str], output: Path) -> None:
    """Write size and SHA-256 of files; their names may hold wildcards."""
    checksums_of(files).to_csv(output, index=False)


if __name__ == "__main__":
    command(checksums)
