"""How long the rest of a run will take here, by what its stages took on another machine."""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from underspec.errors import ArtifactError

# A run takes this much longer than the seconds of its jobs shared by the cores: towards its end
# there are fewer jobs than cores, and Snakemake wants some time too. Of the miniature on two cores.
WHOLE = 1.1


def stage(job: Path) -> str:
    """The stage of a job, by the place of its benchmark below benchmarks/; trainings by scale."""
    parts = job.with_suffix("").parts
    return "/".join(parts[:2]) if parts[0] in ("pretrain", "reward_models") else parts[0]


def read_reference(path: Path) -> dict[str, tuple[int, float]]:
    """By stage, how many jobs and CPU seconds a whole run had elsewhere.

    Raises ArtifactError, naming the file, if it is no such table.
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
    """Wall seconds of each job that ended since that of the benchmark `first` began.

    Older benchmarks are those of an earlier run, whose jobs may run again.
    """
    began = first.stat().st_mtime - (_seconds(first) or 0)
    ended = [path for path in sorted(benchmarks.rglob("*.tsv")) if path.stat().st_mtime >= began]
    seconds = {path.relative_to(benchmarks): _seconds(path) for path in ended}
    return {job: taken for job, taken in seconds.items() if taken}


def left(
    done: Mapping[Path, float], reference: Mapping[str, tuple[int, float]], cores: int
) -> tuple[float, float]:
    """Minutes that the jobs which are not `done` will take, and how many times as long as in the
    reference the others took, stage by stage.
    """
    each = {name: seconds / jobs for name, (jobs, seconds) in reference.items()}
    known = {job: seconds for job, seconds in done.items() if stage(job) in each}
    times = sum(known.values()) / sum(each[stage(job)] for job in known)
    ended = Counter(map(stage, known))
    seconds = sum(max(0, jobs - ended[name]) * each[name] for name, (jobs, _) in reference.items())
    return WHOLE * times * seconds / cores / 60, times


def _seconds(benchmark: Path) -> float | None:
    """None while another job is just writing it."""
    try:
        with benchmark.open(newline="", encoding="utf-8") as file:
            return sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t")) or None
    except (KeyError, TypeError, ValueError):
        return None
