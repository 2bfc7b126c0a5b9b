"""Answers on disk as they come, one JSON object a line.

A process that is killed loses none, and a machine that fails those of its last second.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from underspec import strict_json
from underspec.errors import ArtifactError, first_line
from underspec.schema import Section

SYNC_SECONDS = 1.0  # to write to the disk itself takes longer than to answer


class Answer(Section):
    """What came of a question, after `attempts`: its verdict is one of prompts.MEANING, or a reason
    why there is none (see `chat`). answer: the judge's own words; model: as the server calls it.
    """

    key: str
    verdict: str
    answer: str
    model: str
    attempts: int
    prompt_tokens: int
    completion_tokens: int


@dataclass
class AnswerFile:
    """An open file of answers; known: those in it, by key."""

    path: Path
    descriptor: int
    known: dict[str, Answer]
    synced: float = 0.0

    def add(self, answer: Answer) -> None:
        """Append an answer; when this returns, the system has it."""
        line = memoryview(answer.model_dump_json().encode() + b"\n")
        while line:
            line = line[os.write(self.descriptor, line) :]
        if time.monotonic() > self.synced + SYNC_SECONDS:
            self.sync()
        self.known[answer.key] = answer

    def sync(self) -> None:
        os.fsync(self.descriptor)
        self.synced = time.monotonic()


@contextmanager
def opened(path: Path) -> Iterator[AnswerFile]:
    """Open a file of answers for this process alone; it is made if it is missing. A last line that
    a killed process left unfinished is cut off.

    Raises ArtifactError, naming the file, if another process has it open, or if another line than
    the last is no answer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"{path}: another process is adding answers; wait until it has ended"
            ) from None
        whole = path.read_bytes()
        whole = whole[: whole.rfind(b"\n") + 1]
        os.ftruncate(descriptor, len(whole))
        file = AnswerFile(path, descriptor, dict(_read(whole, path)))
        try:
            yield file
        finally:
            file.sync()
    finally:
        os.close(descriptor)


def _read(content: bytes, path: Path) -> Iterator[tuple[str, Answer]]:
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            answer = Answer.model_validate(strict_json.parse(line))
        except (ValueError, ValidationError) as error:
            raise ArtifactError(
                f"{path}: line {number} is no answer ({first_line(error)}); delete that line and "
                "run Snakemake again: its question will be asked again"
            ) from None
        yield answer.key, answer
