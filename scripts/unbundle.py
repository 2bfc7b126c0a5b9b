import hashlib
import logging
from pathlib import Path

from underspec.command import command
from underspec.provenance.bundle import unpack

log = logging.getLogger("underspec.bundle")


def unbundle(
    *, bundle: Path, scores: list[str], styles: list[str], aligned: list[str], results: Path
) -> None:
    """Restore the reward matrix that a bundle holds, and what else is read after it."""
    unpack(bundle, scores, styles, aligned, results)
    with bundle.open("rb") as file:
        log.info("%s: SHA-256 %s", bundle, hashlib.file_digest(file, "sha256").hexdigest())


if __name__ == "__main__":
    command(unbundle)
