"""`snakemake --profile slurm` in the background, and its jobs on the cluster."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
from cluster import Cluster, wait
from workflow import copy_repository, environment

# A poll soon after a short job, and requests that two virtual nodes can grant many times over.
# The longer a status query finds nothing new, the rarer they come.
QUICK = ["--slurm-init-seconds-before-status-checks", "5"]
SMALL = ["mem_mb=1000", "runtime=30"]


def fresh_copy(folder: Path) -> Path:
    return copy_repository(folder, "profiles", "slurm")


class Run:
    """One snakemake process; its output is in the file `log`."""

    def __init__(self, folder: Path, cluster: Cluster, *arguments: str, resources=()):
        self.folder, self.cluster = folder, cluster
        self.log = folder / "snakemake.log"
        command = [sys.executable, "-m", "snakemake", "--profile", "slurm", *QUICK, *arguments]
        command += ["--default-resources", *SMALL, *resources]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**environment(), "SLURM_CONF": cluster.environment["SLURM_CONF"]},
                stdout=output,
                stderr=output,
            )

    def succeeds(self, seconds: float) -> None:
        """Wait for the end, which must be a good one."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()
            code = f"no end within {seconds} s"
        assert code == 0, f"{code}\n{self.log.read_text()[-5000:]}"


def jobs(cluster: Cluster, rule: str) -> dict[str, str]:
    """The state of each Slurm job of a rule, finished ones included, in the order of submission."""
    lines = cluster.run("squeue", "-h", "--states=all", "-S", "i", "-o", "%i|%T|%k").splitlines()
    rows = [line.split("|") for line in lines]
    return {job: state for job, state, comment in rows if comment.startswith(f"rule_{rule}")}


def processes(folder: Path, script: str) -> list[psutil.Process]:
    """The Python processes that run a script of the repository copy in `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline()[1:2] == [f"scripts/{script}.py"] and process.cwd() == str(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def release(cluster: Cluster, job: str) -> None:
    """Start a requeued job at once; Slurm holds it back for two minutes."""
    wait(lambda: cluster.run("squeue", "-h", "-j", job, "-o", "%T") == "PENDING", 120, "requeue")
    cluster.run("scontrol", "update", f"jobid={job}", "starttime=now")
