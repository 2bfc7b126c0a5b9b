"""Lift the lock that a killed run left behind, unless a run is at work in this folder."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import psutil

from underspec.config import read_config
from underspec.errors import UserError


def at_work() -> list[int]:
    """Processes of a workflow (Snakemake itself, or a job it left behind) in this folder."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        here = process.info["cwd"] == os.getcwd() and process.pid not in own
        if here and ("snakemake" in line or ("python" in line and "scripts/" in line)):
            found.append(process.pid)
    return found


def overlays(arguments: list[str]) -> list[Path]:
    """The files that Snakemake's arguments give as --configfile."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", type=Path, default=[])
    return parser.parse_known_args(arguments)[0].configfile


if __name__ == "__main__":
    try:
        read_config(Path(), *overlays(sys.argv[1:]))
    except UserError as error:
        sys.exit(str(error))
    if pids := at_work():
        sys.exit(f"A run is at work in this folder: process {', '.join(map(str, pids))}.")
    locked = subprocess.run([sys.executable, "-m", "snakemake", "--unlock", *sys.argv[1:]])
    sys.exit(locked.returncode)
