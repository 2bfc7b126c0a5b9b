"""Forecasts how long a run will take, from the times of its stages on another machine."""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from underspec.errors import ArtifactError

# A run takes longer than its jobs' time divided by the cores: towards the end there are fewer jobs
# than cores, and Snakemake needs some time too. Measured for the miniature on two cores.
OVERHEAD = 1.1


def stage(job: Path) -> str:
    """The stage of a job, from its benchmark's path below benchmarks/; trainings also by scale."""
    parts = job.with_suffix("").parts
    return "/".join(parts[:2]) if parts[0] in ("pretrain", "reward_models") else parts[0]


def read_reference(path: Path) -> dict[str, tuple[int, float]]:
    """The jobs and CPU seconds of each stage, in a whole run on another machine.

    Raises ArtifactError, naming the file, if it is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {
                row["stage"]: (int(row["jobs"]), float(row["cpu_seconds"]))
                for row in csv.DictReader(file)
            }
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: not a table of stages ({error}); delete it") from None


def finished(benchmarks: Path, first: Path) -> dict[Path, float]:
    """Wall seconds of each job that ended after the job of the benchmark `first` had begun.

    Older benchmarks are from an earlier run, whose jobs may run again.
    """
    began = first.stat().st_mtime - (_seconds(first) or 0)
    ended = [path for path in sorted(benchmarks.rglob("*.tsv")) if path.stat().st_mtime >= began]
    seconds = {path.relative_to(benchmarks): _seconds(path) for path in ended}
    return {job: taken for job, taken in seconds.items() if taken}


def left(
    done: Mapping[Path, float], reference: Mapping[str, tuple[int, float]], cores: int
) -> tuple[float, float]:
    """The minutes that all jobs except `done` will take, and how many times as long as in the
    reference the jobs in `done` took.
    """
    each = {name: seconds / jobs for name, (jobs, seconds) in reference.items()}
    known = {job: seconds for job, seconds in done.items() if stage(job) in each}
    times = sum(known.values()) / sum(each[stage(job)] for job in known)
    ended = Counter(map(stage, known))
    seconds = sum(max(0, jobs - ended[name]) * each[name] for name, (jobs, _) in reference.items())
    return OVERHEAD * times * seconds / cores / 60, times


def _seconds(benchmark: Path) -> float | None:
    """The seconds in a benchmark; None while it is being written."""
    try:
        with benchmark.open(newline="", encoding="utf-8") as file:
            return sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t")) or None
    except (KeyError, TypeError, ValueError):
        return None
