import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from torch import nn

from underspec.analysis.reward_matrix import read_json
from underspec.architectures import BaseArchitecture, architecture_of
from underspec.artifacts import SAMPLES, SCORES, STYLES, read_table, scores_by, write_table
from underspec.command import command
from underspec.config import sections
from underspec.data.candidates import encoded_candidates
from underspec.errors import ArtifactError
from underspec.inference.scoring import Score
from underspec.models.mc_dropout import Training
from underspec.models.t5 import for_inference

KEY = ["post_id", "sample_index"]
log = logging.getLogger("underspec.score")


def score(
    *,
    posts: Path,
    samples: Path,
    tokenizer: Path,
    reward_models: list[Path],
    architecture: Annotated[dict, sections.Architecture],
    lengths: Annotated[dict, sections.Lengths],
    precision: sections.Precision,
    mc_dropout: sections.Members | None = None,
    scores: list[Path],
    styles: Path | None = None,
    style_scores: Path | None = None,
) -> None:
    """Score every sample with reward models of one scale.

    scores: the tables to write, in the order of the reward models, one for each of their heads;
    mc_dropout: score with so many members of each reward model instead (see `models.mc_dropout`),
    and write a table for each.
    styles: texts in several styles to score as well; style_scores: the table to write of them, with
    a column for each of these tables, named as it is.
    """
    models = architecture_of(tokenizer, architecture)
    table = read_table(samples, SAMPLES)
    styled = read_table(styles, STYLES) if styles else None
    reader = None
    style_rewards = {}
    pending = list(scores)
    for done, folder in enumerate(reward_models, start=1):
        last, reader = reader, models.reader(folder, lengths)
        if last is None or reader.identity != last.identity:  # most scales have one tokenizer
            encoded = encoded_candidates(posts, table, samples, reader)
            if styles:
                encoded_styles = encoded_candidates(posts, styled, styles, reader)
        model = models.load(folder)
        columns = model.heads * (mc_dropout or 1)
        its_own, pending = pending[:columns], pending[columns:]
        if len(its_own) < columns or (pending and done == len(reward_models)):
            raise ArtifactError(
                f"{folder}: has {columns} reward heads or members and {len(its_own + pending)} "
                "tables for them; give --scores one for each of each reward model"
            )
        model = for_inference(model, precision)
        members = partial(_members, models, model, folder, mc_dropout)
        rewards = np.hstack([_rewards(partial(models.score, each), *encoded) for each in members()])
        for path, reward in zip(its_own, rewards.T, strict=True):
            write_table(table[KEY].assign(reward=reward), path, SCORES)
        if styles:
            scorers = (partial(models.score, each) for each in members())
            rewards = np.hstack([_rewards(each, *encoded_styles) for each in scorers])
            style_rewards |= zip((path.stem for path in its_own), rewards.T, strict=True)
        log.info("%d of %d reward models", done, len(reward_models))
    if styles:
        schema = scores_by(list(style_rewards))
        write_table(pd.DataFrame({**styled[KEY], **style_rewards}), style_scores, schema)


def _members(
    models: BaseArchitecture, model: nn.Module, folder: Path, mc_dropout: int | None
) -> Iterable[nn.Module]:
    """The model itself, or its members, one at a time: they need not fit into memory together."""
    if not mc_dropout:
        return [model]
    provenance = read_json(folder / "provenance.json", Training)
    return models.members(model, folder, provenance, mc_dropout)


def _rewards(
    score: Score,
    posts: list[np.ndarray],
    candidates: list[list[np.ndarray]],
    rows: np.ndarray,
) -> np.ndarray:
    """(rows, heads) of a table, from what `encoded_candidates` makes of it."""
    found = np.concatenate(score(posts, candidates))
    rewards = np.empty_like(found)
    rewards[rows] = found
    return rewards


if __name__ == "__main__":
    command(score)
