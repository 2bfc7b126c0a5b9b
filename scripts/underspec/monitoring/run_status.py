"""How far a run is: the stages that are done, the jobs that are running."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

NAMED = 3  # of more running jobs a line has the number by rule


@dataclass(frozen=True)
class Job:
    rule: str
    wildcards: tuple[str, ...]
    started: float

    def __str__(self) -> str:
        return " ".join([self.rule, *self.wildcards])


class RunStatus:
    """What is said of the jobs of one run, from `jobs`, their number by rule.

    Times are seconds on any clock. A job that starts again starts from nothing.
    """

    def __init__(self, jobs: Mapping[str, int]):
        self.jobs = jobs
        self.running: dict[int, Job] = {}
        self.done: Counter[str] = Counter()
        self.began: dict[str, float] = {}  # of each rule, its first job

    def start(self, number: int, job: Job) -> None:
        self.running[number] = job
        self.began.setdefault(job.rule, job.started)

    def fail(self, number: int) -> None:
        self.running.pop(number, None)

    def finish(self, number: int, now: float) -> str | None:
        """A line about the rule of the job, if this was the last of its jobs."""
        rule = self.running.pop(number).rule
        self.done[rule] += 1
        if self.outstanding(rule):
            return None
        jobs = f"{self.jobs[rule]} jobs, " if self.jobs[rule] > 1 else ""
        return f"{self._count()}{rule} done ({jobs}{duration(now - self.began[rule])})"

    def outstanding(self, rule: str) -> int:
        return self.jobs.get(rule, 0) - self.done[rule]

    def unfinished(self, now: float, heading: str) -> str | None:
        """A line about the jobs that have started, the oldest first, if there are any."""
        jobs = list(self.running.values())
        if not jobs:
            return None
        if len(jobs) <= NAMED:
            names = [f"{job} ({duration(now - job.started)})" for job in jobs]
        else:
            names = [f"{count} {rule}" for rule, count in Counter(job.rule for job in jobs).items()]
        return f"{self._count()}{heading}: {', '.join(names)}"

    def _count(self) -> str:
        total = str(sum(self.jobs.values()))
        return f"{self.done.total():>{len(total)}} of {total} jobs  "


def duration(seconds: float) -> str:
    """To the second below a minute, to the minute above."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
