"""Lift the lock that a killed run left behind, if it is certain that no run is at work here."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import psutil

from underspec.config.layers import read_config
from underspec.errors import UserError
from underspec.monitoring.run_note import read_notes
from underspec.monitoring.slurm_queue import queue


def at_work() -> list[int]:
    """Processes of a workflow (Snakemake itself, or a job it left behind) in this folder."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = {note.pid for note in read_notes() if note.here and note.alive}
    for process in psutil.process_iter(["cwd", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        here = process.info["cwd"] == os.getcwd() and process.pid not in own
        if here and ("snakemake" in line or ("python" in line and "scripts/" in line)):
            found.add(process.pid)
    return sorted(found)


def obstacle() -> str:
    """Why the lock stays, in a sentence; empty if nothing can be at work here any more."""
    if pids := at_work():
        return f"A run is at work in this folder: process {', '.join(map(str, pids))}."
    notes = list(read_notes())
    if not notes:
        return "This folder is locked, and nothing says by which run."
    if away := [f"process {note.pid} on {note.host}" for note in notes if not note.here]:
        return f"This folder is locked by {', '.join(away)}; from here it cannot be seen."
    try:
        jobs = [queued.job for queued in queue(os.getcwd())]
    except OSError as error:
        unknown = f"Whether Slurm runs jobs of this folder cannot be asked ({error})."
        return unknown if any(note.slurm for note in notes) else ""
    return f"Slurm has jobs of this folder (scancel {' '.join(jobs)})." if jobs else ""


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
    by_hand = ["snakemake", "--unlock", *sys.argv[1:]]
    if reason := obstacle():
        sys.exit(f"{reason}\nOnce no run is at work here, lift the lock: {' '.join(by_hand)}")
    sys.exit(subprocess.run([sys.executable, "-m", *by_hand]).returncode)
