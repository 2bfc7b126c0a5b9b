"""Running the real workflow from tests: a copy of the repository, and Snakemake in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
SMOKE = ["--configfile", "experiments/smoke.yaml"]
PARTS = ["Snakefile", "config.yaml", "envs", "experiments", "prompts", "reports", "rules"]
PARTS += ["scripts"]


def copy_repository(target: Path, *more: str) -> Path:
    for name in [*PARTS, *more]:
        source = REPOSITORY / name
        if source.is_symlink():
            (target / name).symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, target / name, symlinks=True)
        elif source.exists():
            shutil.copy2(source, target / name)
    return target


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, env=environment()
    )


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def overlay(folder: Path, changes: dict) -> list[str]:
    """Command-line arguments for the smoke experiment with `changes` to its config, where it
    leaves its results."""
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump({"experiment": "smoke"} | changes))
    return [*SMOKE, str(path)]


def scheduled(folder: Path, *arguments: str) -> set[str]:
    """The rules that a dry run would run; the targets that only collect are left out."""
    done = snakemake(folder, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    output = done.stdout + done.stderr
    if "Nothing to be done" in output:
        return set()
    table = output.split("Job stats:")[1].split("total")[0]
    rules = set(re.findall(r"^(\w+)\s+\d+\s*$", table, re.MULTILINE))
    return rules - {"all", "tables", "figure1", "figure2", "figure3", "figure4", "table1"}


def left_after_deletion(folder: Path, results: str, *arguments: str) -> set[str]:
    """The files and folders of `results` in which something is left of deleted outputs."""
    done = snakemake(folder, *arguments, "--delete-all-output")
    assert done.returncode == 0, done.stdout + done.stderr
    files = (path for path in (folder / results).rglob("*") if path.is_file())
    return {path.relative_to(folder / results).parts[0] for path in files}
