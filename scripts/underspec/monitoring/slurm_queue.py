"""Finds the jobs of a folder's runs in Slurm's queue, and those that wait in vain."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Reasons that last until a person acts; others pass with time.
TOO_LONG = re.compile(r"PartitionTimeLimit|(Assoc|QOS)\w*MaxWall\w*")
HELD = re.compile(r"JobHeld\w*|JobHoldMaxRequeue|.*held.*", re.IGNORECASE)
NEVER = re.compile(
    r"PartitionNodeLimit|BadConstraints|DependencyNeverSatisfied|Invalid(Account|QOS)"
    r"|(Account|QOS)NotAllowed|(Assoc|QOS)(Max\w*PerJob|Min)\w*"
)


@dataclass(frozen=True)
class Queued:
    """A job in the queue, as `squeue` shows it."""

    job: str
    state: str
    reason: str
    name: str  # rule and wildcards


def queue(folder: str | Path) -> list[Queued]:
    """The jobs of Snakemake runs in a folder, of any user; OSError if Slurm does not answer."""
    command = ["squeue", "--noheader", "--format=%i|%T|%r|%k|%Z"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"squeue: {done.stderr.strip()}")
    rows = [line.split("|", 4) for line in done.stdout.splitlines()]
    return [
        Queued(job, state, reason, re.sub("^rule_|_wildcards(?=_)", "", comment))
        for job, state, reason, comment, where in rows
        if where == str(folder) and comment.startswith(("rule_", "group_"))
    ]


def advice(waiting: Queued) -> str:
    """What to do about a job that waits in vain; empty if its reason passes with time."""
    if waiting.state != "PENDING":
        return ""
    if TOO_LONG.fullmatch(waiting.reason):
        cure = (
            f"lower its time limit (scontrol update jobid={waiting.job} timelimit=MINUTES), and"
            " max_minutes in the config for the next"
        )
    elif HELD.fullmatch(waiting.reason):
        cure = f"release it (scontrol release {waiting.job})"
    elif NEVER.fullmatch(waiting.reason):
        cure = f"see what it asks for (scontrol show job {waiting.job}) and cancel it"
    else:
        return ""
    return f"{waiting.name} waits in vain (Slurm job {waiting.job}: {waiting.reason}): {cure}"
