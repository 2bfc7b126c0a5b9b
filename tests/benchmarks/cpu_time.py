"""Where the CPU time of a finished experiment went, stage by stage, from its logs and benchmarks.

    python tests/benchmarks/cpu_time.py results/miniature [--output FILE.csv]

Start-up is all CPU time a process used before its stage began: the interpreter and imports.
A notebook counts as start-up in full, but for papermill's own notebook kernel work.
"""

import argparse
import re
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from underspec.monitoring.forecast import stage  # noqa: E402

MODELS = ("pretrain", "policy", "sample", "reward_models", "score", "aligned")
LINE = re.compile(r"CPU seconds: ([\d.]+) to start, ([\d.]+) in all")


def read(results: Path) -> pd.DataFrame:
    """One row a job: stage, start-up and all CPU seconds, wall seconds, peak memory in MB."""
    rows = []
    for path in sorted((results / "benchmarks").rglob("*.tsv")):
        measured = pd.read_csv(path, sep="\t", na_values="-").iloc[0]
        log = (results / "logs" / path.relative_to(results / "benchmarks")).with_suffix(".log")
        times = LINE.search(log.read_text()) if log.exists() else None
        start, total = map(float, times.groups()) if times else (measured.cpu_time,) * 2
        rows.append(
            {
                "stage": stage(path.relative_to(results / "benchmarks")),
                "jobs": 1,
                "start-up": start,
                "CPU": total,
                "wall": measured.s,
                "peak MB": measured.max_rss,
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="results/<experiment>")
    parser.add_argument(
        "--output", type=Path, help="a CSV file, as forecasts of other runs want it"
    )
    arguments = parser.parse_args()
    jobs = read(arguments.results)
    how = {"jobs": "sum", "start-up": "sum", "CPU": "sum", "wall": "sum", "peak MB": "max"}
    table = jobs.groupby("stage", sort=False).agg(how)
    if arguments.output:
        columns = table[["jobs", "CPU"]].rename(columns={"CPU": "cpu_seconds"})
        columns.round(2).to_csv(arguments.output)
    table.loc["all"] = jobs.agg(how)
    table["start-up share"] = table["start-up"] / table["CPU"]
    print(table.round(2).to_string())
    models = jobs[jobs.stage.str.split("/").str[0].isin(MODELS)]
    inside = (models.CPU - models["start-up"]).sum() / jobs.CPU.sum()
    print(f"inside training (also RLHF), sampling and scoring: {inside:.1%} of all CPU time")


if __name__ == "__main__":
    main()
