"""Notes beside Snakemake's lock: which process holds it, and whether that process still runs."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

# Snakemake deletes this folder when it releases its lock.
LOCKS = Path(".snakemake/locks")


@dataclass(frozen=True)
class RunNote:
    """One Snakemake process."""

    host: str
    pid: int
    started: float  # tells it from a later process with the same id
    slurm: bool

    def write(self, folder: Path = LOCKS) -> None:
        """Write the note; if that fails, the run goes on without it."""
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{self.host}-{self.pid}.json").write_text(json.dumps(asdict(self)))

    @property
    def here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether the process still runs; only its own host can tell."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            over = process.status() == psutil.STATUS_ZOMBIE
            return process.create_time() == self.started and not over
        return False


def of_this_process(slurm: bool) -> RunNote:
    started = psutil.Process().create_time()
    return RunNote(socket.gethostname(), os.getpid(), started, slurm)


def read_notes(folder: Path = LOCKS) -> Iterator[RunNote]:
    """The notes beside a lock; damaged ones are ignored."""
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            yield RunNote(**json.loads(path.read_text()))
