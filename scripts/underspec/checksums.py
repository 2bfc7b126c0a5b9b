"""Size and SHA-256 of files of any size."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from underspec.errors import ArtifactError


def checksums(patterns: Iterable[str]) -> list[dict]:
    """Path, bytes and sha256 of every file that matches a pattern, in the order of the patterns.

    Files are not read into memory at once. Raises ArtifactError if a pattern matches no file.
    """
    return [
        {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256(path)}
        for pattern in patterns
        for path in _files(pattern)
    ]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(pattern: str) -> list[Path]:
    folder, name = Path(pattern).parent, Path(pattern).name
    files = sorted(path for path in folder.glob(name) if path.is_file())
    if not files:
        raise ArtifactError(f"{pattern}: no such file; let Snakemake make it first")
    return files
