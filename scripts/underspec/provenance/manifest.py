"""The manifest of a run: software, machine, code, files and time."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from underspec.machine import processor

PIN = re.compile(r"^([A-Za-z0-9_.-]+)==", re.MULTILINE)


def manifest(
    config: dict, packages: Mapping, machine: Mapping, code: Mapping, files: list, stages: list
) -> dict:
    """The manifest of a run, which can be written as JSON."""
    return {
        "experiment": config["experiment"],
        "config": config,
        "code": dict(code),
        "packages": dict(packages),
        "machine": dict(machine),
        "stages": stages,
        "cpu_seconds": sum(stage["cpu_seconds"] for stage in stages),
        "files": files,
    }


def pinned(requirements: Iterable[str]) -> list[str]:
    """The names of all packages that are pinned in the texts of requirement files, sorted."""
    return sorted({name.lower() for text in requirements for name in PIN.findall(text)})


def by_stage(benchmarks: Mapping[str, pd.DataFrame]) -> list[dict]:
    """Jobs, wall seconds and CPU seconds of each stage, the longest first.

    `benchmarks` are Snakemake's, by path below the folder of benchmarks; the first part of the path
    is the stage. Snakemake measures a job every few seconds, so that the CPU time of a shorter job
    may be missing; it counts as zero.
    """
    rows = [
        {"stage": Path(Path(path).parts[0]).stem, "seconds": row.s, "cpu_seconds": row.cpu_time}
        for path, table in benchmarks.items()
        for row in table.itertuples()
    ]
    if not rows:
        return []
    table = pd.DataFrame(rows).fillna(0.0).groupby("stage")
    stages = table.agg(
        jobs=("seconds", "size"), seconds=("seconds", "sum"), cpu_seconds=("cpu_seconds", "sum")
    )
    return (
        stages.round(2).sort_values("cpu_seconds", ascending=False).reset_index().to_dict("records")
    )


def read_benchmarks(folder: Path) -> dict[str, pd.DataFrame]:
    return {
        str(path.relative_to(folder)): pd.read_csv(
            path, sep="\t", na_values="-", usecols=["s", "cpu_time"], dtype=float
        )
        for path in sorted(folder.rglob("*.tsv"))
    }


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """The installed version of each package, None if it is not installed."""

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: installed(name) for name in packages}


def this_machine() -> dict:
    """This machine's Python, platform, processor, number of CPUs and bytes of memory."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def checkout(root: Path, but: str | None = None) -> dict:
    """The commit of the Git checkout `root`, and whether tracked files differ from it, other than
    those in the folder `but`.

    Both are None if `root` is not the top folder of a checkout, or without Git.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return {"commit": None, "dirty": None}
        paths = ["--", ".", f":!{but}"] if but else []
        changes = git("status", "--porcelain", "--untracked-files=no", *paths)
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
