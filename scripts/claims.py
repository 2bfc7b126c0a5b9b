from pathlib import Path

import pandas as pd

from underspec.analysis.claims import Found, numbers_of_table1, read_claims, verdicts
from underspec.analysis.published import read_table1
from underspec.analysis.quantities import from_table
from underspec.artifacts import EVIDENCE, read_table
from underspec.command import command
from underspec.config import sections
from underspec.csv_files import read_csv, write_csv
from underspec.errors import ConfigError


def claims(
    *,
    claims_file: Path,
    published: Path,
    evidence: list[Path],
    best_of_n: sections.BestOfN,
    pretrains: sections.Count,
    grid: sections.Grid,
    ensemble_size: sections.EnsembleSize,
    world: sections.Name,
    claims: Path,
    tables: list[Path],
) -> None:
    """Write the verdict on every claim of the claims file, and each of `tables` over all scales.

    evidence: a folder for each scale, of the scale's name, with a table of each one's name.
    """
    if not evidence:
        raise ConfigError("--evidence: names no scale; give a folder for each")
    found = {
        folder.name: from_table(read_table(folder / "resamples.parquet", EVIDENCE))
        for folder in evidence
    }
    entries = read_claims(claims_file) + numbers_of_table1(read_table1(published))
    what = Found(found, best_of_n, pretrains, grid, min(ensemble_size, pretrains), world)
    write_csv(verdicts(entries, what), claims)
    for path in tables:
        parts = [read_csv(folder / path.name) for folder in evidence]
        write_csv(pd.concat(parts, ignore_index=True), path)


if __name__ == "__main__":
    command(claims)
