import logging
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path

from underspec.command import command
from underspec.provenance.bundle import pack

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

    def git(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)

    try:
        head = git("rev-parse", "--verify", "HEAD")
        edited = git("diff", "--quiet", "HEAD", "--", ".", ":!bundles")
    except FileNotFoundError:
        return None
    if head.returncode:
        return None
    return head.stdout.strip() + ("-dirty" if edited.returncode else "")


def packages() -> dict[str, str]:
    """The versions of what computes here: of Python, and of each of COMPUTING that is installed."""
    installed = {found.name.lower(): found.version for found in distributions()}
    found = {name: installed[name] for name in COMPUTING if name in installed}
    return {"python": platform.python_version(), **found}


if __name__ == "__main__":
    command(bundle)
