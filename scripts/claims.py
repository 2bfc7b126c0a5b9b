from pathlib import Path

import pandas as pd

from underspec.analysis import newer_rankers
from underspec.analysis.claims import (
    PAPER_SCALES,
    Found,
    about_scales,
    numbers_of_table1,
    read_claims,
    verdicts,
)
from underspec.analysis.published import read_table1
from underspec.analysis.quantities import from_table
from underspec.artifacts import EVIDENCE, read_table
from underspec.command import command
from underspec.config import sections
from underspec.csv_files import read_csv, write_csv
from underspec.errors import ConfigError
from underspec.report.words import reworded


def claims(
    *,
    claims_file: Path,
    published: Path,
    evidence: list[Path],
    best_of_n: sections.BestOfN,
    pretraining_seeds: sections.Count,
    grid: sections.Grid,
    ensemble_size: sections.EnsembleSize,
    world: sections.Name,
    reward: sections.RewardKind,
    matrix: dict | None = None,
    words: dict | None = None,
    claims: Path,
    tables: list[Path],
    table1_long: Path | None = None,
    rlhf: list[Path] | None = None,
    judge: list[Path] | None = None,
) -> None:
    """Write the verdict on every claim of the claims file about this kind of reward, each of
    `tables` over all scales, and Table 1 in the long form, with every ranker.

    evidence: a folder for each scale, of the scale's name, with a table of each one's name; rlhf,
    judge: what claims about RLHF and a prompted judge rest on, in the folders of the scales that
    have it; matrix: this key of the config, if the matrix is from elsewhere. Claims are then about
    its scales, as they are where no scale is the paper's. words: what seeds are called (see
    `words.reworded`).
    """
    if not evidence:
        raise ConfigError("--evidence: names no scale; give a folder for each")
    found = {
        folder.name: from_table(read_table(folder / "resamples.parquet", EVIDENCE))
        for folder in evidence
    }
    for path in [*(rlhf or []), *(judge or [])]:
        found[path.parent.name] |= from_table(read_table(path, EVIDENCE))
    paper = read_table1(published)
    every = read_claims(claims_file) + numbers_of_table1(paper)
    entries = [claim for claim in every if claim.reward in (None, reward)]
    if matrix or not found.keys() & set(PAPER_SCALES):
        entries = about_scales(entries, list(found))
    size = min(ensemble_size, pretraining_seeds)
    what = Found(found, best_of_n, pretraining_seeds, grid, size, world)
    judged = verdicts(entries, what)
    if words:
        for column in ("claim", "reason"):
            judged[column] = [reworded(text, words) for text in judged[column]]
    write_csv(judged, claims)
    for path in tables:
        write_csv(_over_scales(evidence, path.stem), path)
    if table1_long:
        rankers = _over_scales(evidence, "rankers")
        write_csv(newer_rankers.table1_long(rankers, paper), table1_long)


def _over_scales(evidence: list[Path], table: str) -> pd.DataFrame:
    parts = [read_csv(folder / f"{table}.csv") for folder in evidence]
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    command(claims)
