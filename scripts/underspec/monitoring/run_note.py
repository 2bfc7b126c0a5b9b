"""Who holds the lock of a folder: a note beside the lock, and whether its run is over."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

# Snakemake removes this folder with everything in it when it lifts its lock.
LOCKS = Path(".snakemake/locks")


@dataclass(frozen=True)
class RunNote:
    """One Snakemake process."""

    host: str
    pid: int
    started: float  # a later process may get the same number
    slurm: bool

    def write(self, folder: Path = LOCKS) -> None:
        """Leave the note; a run is no worse without, where the folder takes none."""
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
    """The notes beside a lock; one that a full disk cut short is none."""
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            yield RunNote(**json.loads(path.read_text()))
