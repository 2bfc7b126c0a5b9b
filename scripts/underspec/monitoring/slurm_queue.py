"""What Slurm's queue holds of the runs in a folder."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Reasons that stay until a person acts; others pass when nodes, priority or a reservation do.
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
    name: str  # of its rule and wildcards


def queue(folder: str | Path) -> list[Queued]:
    """The jobs of Snakemake runs in a folder, of any user; OSError if no Slurm answers."""
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
    """What to do about a job that waits in vain; empty if its reason will pass."""
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
