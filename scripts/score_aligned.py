import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from underspec.alignment.rewards import load_members
from underspec.architectures import architecture_of
from underspec.artifacts import ALIGNED_SAMPLES, aligned_scores, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.data.candidates import encoded_candidates
from underspec.schema import Name, NotNegative

log = logging.getLogger("underspec.score_aligned")


def score_aligned(
    *,
    posts: Path,
    samples: list[Path],
    tokenizer: Path,
    reward_models: list[Path],
    cheaper: list[Path] | None = None,
    evaluator: Path,
    architecture: Annotated[dict, sections.Architecture],
    evaluator_architecture: Annotated[dict, sections.Architecture],
    lengths: Annotated[dict, sections.Lengths],
    precision: sections.Precision,
    members: list[Name] | None = None,
    mc_dropout: NotNegative = 0,
    scores: list[Path],
) -> None:
    """Score the samples of aligned policies with every reward model of a scale and the evaluator.

    cheaper: where the ranker is a cheaper ensemble, its reward models, to score as well; members:
    the names of its members, which are their heads, or `mc_dropout` members of each if that is not
    0. scores: the tables to write, in the order of the samples, with a column per reward model and
    member.
    """
    tables = [read_table(path, ALIGNED_SAMPLES) for path in samples]
    every = pd.concat(tables, ignore_index=True)
    scored = every[["post_id", "sample_index"]].copy()
    names = [*(folder.name for folder in reward_models), *(members or [])]
    judges = [(folder, architecture, 0) for folder in reward_models]
    judges += [(folder, architecture, mc_dropout) for folder in cheaper or []]
    judges += [(evaluator, evaluator_architecture, 0)]
    by_judge, reader = [], None
    for folder, settings, dropout in judges:
        models = architecture_of(tokenizer, settings)
        last, reader = reader, models.reader(folder, lengths)
        if last is None or reader.identity != last.identity:
            encoded_posts, candidates, rows = encoded_candidates(posts, every, samples[0], reader)
        for model in load_members(models, folder, precision, dropout):
            rewards = np.empty((len(every), model.heads), np.float32)
            rewards[rows] = np.concatenate(models.score(model, encoded_posts, candidates))
            by_judge += [*rewards.T]
        log.info("scored by %s", folder.name)
    for name, rewards in zip([*names, "evaluator"], by_judge, strict=True):
        scored[name] = rewards
    ends = np.cumsum([len(table) for table in tables])
    for path, end, table in zip(scores, ends, tables, strict=True):
        write_table(scored.iloc[end - len(table) : end], path, aligned_scores(names))


if __name__ == "__main__":
    command(score_aligned)
