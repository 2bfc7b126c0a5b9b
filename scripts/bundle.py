import logging
import subprocess
from importlib.metadata import distributions
from pathlib import Path

from underspec.bundle import pack
from underspec.command import command

log = logging.getLogger("underspec.bundle")


def bundle(*, results: Path, scores: list[str], config: dict, output: Path) -> None:
    """Write the reward matrix of an experiment, and where it comes from, to one file."""
    pack(results, scores, config, commit(), packages(), output)
    log.info("%s: %.2f MB", output, output.stat().st_size / 1e6)


def commit() -> str | None:
    """The commit of this repository, with -dirty where files differ from it; None without git."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    here = Path(__file__).parent
    try:
        done = subprocess.run(describe, cwd=here, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def packages() -> dict[str, str]:
    """The version of each installed package."""
    return {found.name: found.version for found in distributions()}


if __name__ == "__main__":
    command(bundle)
