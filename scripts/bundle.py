import logging
import platform
from pathlib import Path

from underspec.command import command
from underspec.provenance.bundle import pack
from underspec.provenance.manifest import checkout, versions

REPOSITORY = Path(__file__).parents[1]
COMPUTING = (
    "accelerate",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)
log = logging.getLogger("underspec.bundle")


def bundle(
    *,
    results: Path,
    scores: list[str],
    styles: list[str],
    aligned: list[str],
    config: dict,
    output: Path,
) -> None:
    """Write the reward matrix of an experiment, and where it comes from, to one file."""
    pack(results, scores, styles, aligned, config, commit(REPOSITORY), packages(), output)
    log.info("%s: %.2f MB", output, output.stat().st_size / 1e6)


def commit(folder: Path) -> str | None:
    """The commit that is checked out in `folder`, with -dirty where files differ from it (other
    bundles do not count); None if it is no git checkout, or there is no git.
    """
    found = checkout(folder, but="bundles")
    return found["commit"] and found["commit"] + ("-dirty" if found["dirty"] else "")


def packages() -> dict[str, str]:
    """The versions of what computes here: of Python, and of each of COMPUTING that is installed."""
    installed = {name: found for name, found in versions(COMPUTING).items() if found}
    return {"python": platform.python_version(), **installed}


if __name__ == "__main__":
    command(bundle)
