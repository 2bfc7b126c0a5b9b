"""Lift the lock that a killed run left behind, unless a run is at work in this folder."""

import os
import subprocess
import sys

import psutil


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


if __name__ == "__main__":
    if pids := at_work():
        sys.exit(f"A run is at work in this folder: process {', '.join(map(str, pids))}.")
    locked = subprocess.run([sys.executable, "-m", "snakemake", "--unlock", *sys.argv[1:]])
    sys.exit(locked.returncode)
