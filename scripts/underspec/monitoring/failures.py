"""Finds out why a job failed, from its logs and from Snakemake's messages."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Lines in a stage's log have a level; its lines on the terminal have the job's label.
ERROR = re.compile(r"^\S+ \S+ (?:ERROR|CRITICAL) \S+: (?P<cause>.*)$", re.MULTILINE)
LABELLED = re.compile(r"^\[(?!\w{3} \w{3} [ \d]\d )[^\]]+\] (?P<cause>.*)$", re.MULTILINE)
EXCEPTION = re.compile(
    r"^(?P<cause>(?:\w+\.)*(?!Rule|Workflow)\w+(?:Error|Exception): \S.*)$", re.MULTILINE
)
SYSTEM = re.compile(
    r"^(?:\[[^\]]+\] )?(?P<cause>.*(?:No space left on device|Disk quota exceeded"
    r"|Read-only file system|Permission denied|Cannot allocate memory|command not found).*)$",
    re.MULTILINE,
)
STATUS = re.compile(r"(?P<cause>exit status \d+|died with <Signals\.\w+: \d+>)")
KILLED = re.compile(r"SIGKILL|exit status 137|\bKilled\b")

REFUSED = re.compile(r"(?P<cause>sbatch: error: [^\n']*)")

# Slurm often reports a job that ran out of memory just as failed; then only its log has the cause.
MEMORY = re.compile(r"\boom[-_ ]kill|Out Of Memory")
STATE = re.compile(r"SLURM status is: '(\w+)'")
STATES = {
    "OUT_OF_MEMORY": "out of memory",
    "TIMEOUT": "time limit reached",
    "DEADLINE": "deadline passed",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node failed",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True)
class Cause:
    """The cause of a failure, and the file that has it (None if only Slurm or the shell has)."""

    text: str
    log: Path | None = None


def cause(logs: Iterable[Path], said: str, out_of_memory: bool = False) -> Cause:
    """The most informative line of a failed job's logs and of Snakemake's message `said`.

    `out_of_memory` says whether this machine's kernel has just killed a process for memory.
    """
    texts = {path: text for path in logs if (text := _read(path))}
    return (
        _by_slurm(texts, said)
        or _last(REFUSED, {}, said)
        or _last(ERROR, texts)
        or _last(SYSTEM, texts, said)
        or _last(EXCEPTION, texts)
        or _killed(texts, said, out_of_memory)
        or _last(LABELLED, texts)
        or _last_line(texts)
        or _last(STATUS, {}, said)
        or Cause("unknown cause")
    )


def _by_slurm(texts: dict[Path, str], said: str) -> Cause | None:
    state = STATE.search(said)
    if state and state[1] in STATES:
        return Cause(STATES[state[1]])
    found = (path for path, text in texts.items() if MEMORY.search(text))
    return next((Cause("out of memory", path) for path in found), None)


def _last(pattern: re.Pattern, texts: dict[Path, str], said: str = "") -> Cause | None:
    for path, text in (*texts.items(), (None, said)):
        if matches := list(pattern.finditer(text)):
            return Cause(matches[-1]["cause"].strip(), path)
    return None


def _killed(texts: dict[Path, str], said: str, out_of_memory: bool) -> Cause | None:
    for path, text in ((None, said), *texts.items()):
        if KILLED.search(text):
            return Cause("out of memory" if out_of_memory else "killed (SIGKILL)", path)
    return None


def _last_line(texts: dict[Path, str]) -> Cause | None:
    for path, text in texts.items():
        return Cause(f"its log ends with: {text.rstrip().splitlines()[-1].strip()}", path)
    return None


def _read(path: Path) -> str:
    """The end of a log; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 200_000))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


def kills_for_memory() -> int:
    """How many processes this machine's kernel has killed for memory."""
    try:
        counters = Path("/proc/vmstat").read_text()
    except OSError:  # not Linux
        return 0
    return sum(int(count) for count in re.findall(r"^oom_kill (\d+)$", counters, re.MULTILINE))
