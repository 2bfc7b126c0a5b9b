"""Where the CPU time of a finished experiment went, stage by stage, from its logs and benchmarks.

    python tests/benchmarks/cpu_time.py results/miniature

Start-up is all CPU time a process used before its stage began: the interpreter and imports.
A notebook counts as start-up in full, but for papermill's own notebook kernel work.
"""

import argparse
import re
from pathlib import Path

import pandas as pd

MODELS = ("pretrain", "policy", "sample", "reward_models", "evaluator", "score")
LINE = re.compile(r"CPU seconds: ([\d.]+) to start, ([\d.]+) in all")


def stage(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return "/".join(parts[:2]) if parts[0] in ("pretrain", "reward_models") else parts[0]


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
                "stage": stage(path, results / "benchmarks"),
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
    jobs = read(parser.parse_args().results)
    how = {"jobs": "sum", "start-up": "sum", "CPU": "sum", "wall": "sum", "peak MB": "max"}
    table = jobs.groupby("stage", sort=False).agg(how)
    table.loc["all"] = jobs.agg(how)
    table["start-up share"] = table["start-up"] / table["CPU"]
    print(table.round(2).to_string())
    models = jobs[jobs.stage.str.split("/").str[0].isin(MODELS)]
    inside = (models.CPU - models["start-up"]).sum() / jobs.CPU.sum()
    print(f"inside training, sampling and scoring: {inside:.1%} of the CPU time of all jobs")


if __name__ == "__main__":
    main()
