"""Turn the rewards and the choices into the tables that the figures draw."""

from pathlib import Path

import pandas as pd

from underspec import tables as build
from underspec.command import command
from underspec.directions import directions
from underspec.results import read_results
from underspec.summary import summarise


def tables(*, results: Path, experiment: dict, published: Path, output: Path) -> None:
    """Read results/<experiment>/, write one CSV a table; nothing is written if one fails.

    experiment: scales, grid, pretrain_seeds, finetune_seeds, aggregators, best_of_n and gold.
    """
    read = read_results(results, experiment)
    paper = build.read_published(published)
    summaries = [summarise(scale, read.yardsticks) for scale in read.scales]
    made = {"accuracy": build.accuracy(read)}
    names = ["figure1", "figure2", "figure3", "figure4"] + ["gold"] * experiment["gold"]
    for name in names:
        table = getattr(build, name)
        made[name] = pd.concat([table(summary) for summary in summaries], ignore_index=True)
    made["table1"] = build.table1(made["figure4"], paper)
    made["directions"] = directions(read, summaries)
    for name, table in made.items():
        build.write_csv(table, output / f"{name}.csv")


if __name__ == "__main__":
    command(tables)
