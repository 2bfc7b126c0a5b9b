import logging
from pathlib import Path

from underspec.command import command
from underspec.monitoring.forecast import finished, left, read_reference

log = logging.getLogger("underspec.forecast")


def forecast(*, benchmarks: Path, first: Path, reference: Path, cores: int, output: Path) -> None:
    """Say how many minutes are left on this machine, unless it is less than one.

    benchmarks: the folder of Snakemake's; first: one of them, of a job that runs early; reference:
    jobs and CPU seconds by stage of a whole run.
    """
    minutes, times = left(finished(benchmarks, first), read_reference(reference), cores)
    said = (
        f"about {minutes:.0f} minute{'s' * (round(minutes) != 1)} left on this machine: jobs take "
        f"{times:.1f} times as long as in {reference}"
    )
    if minutes >= 1:
        log.warning("%s", said)  # a run shows no other messages of its stages
    output.write_text(said + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(forecast)
