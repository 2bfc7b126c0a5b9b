import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from underspec.artifacts import ALIGNED_SAMPLES, aligned_scores, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.data.candidates import encoded_candidates
from underspec.data.tokenization import load_tokenizer
from underspec.inference.scoring import score
from underspec.models.reward_model import RewardModel
from underspec.models.t5 import for_inference, load

log = logging.getLogger("underspec.score_aligned")


def score_aligned(
    *,
    posts: Path,
    samples: list[Path],
    tokenizer: Path,
    reward_models: list[Path],
    evaluator: Path,
    shape: Annotated[dict, sections.Shape],
    evaluator_shape: Annotated[dict, sections.Shape],
    lengths: Annotated[dict, sections.Lengths],
    precision: sections.Precision,
    scores: list[Path],
) -> None:
    """Score the samples of aligned policies with every reward model of a scale and the evaluator.

    scores: the tables to write, in the order of the samples, with a column per reward model.
    """
    trained = load_tokenizer(tokenizer)
    tables = [read_table(path, ALIGNED_SAMPLES) for path in samples]
    every = pd.concat(tables, ignore_index=True)
    encoded_posts, candidates, rows = encoded_candidates(posts, every, samples[0], trained, lengths)
    scored = every[["post_id", "sample_index"]].copy()
    judges = [(folder.name, folder, shape) for folder in reward_models]
    for name, folder, of_shape in [*judges, ("evaluator", evaluator, evaluator_shape)]:
        model = load(RewardModel, folder, of_shape, trained.get_vocab_size())
        rewards = np.empty(len(every), np.float32)
        found = score(for_inference(model, precision), encoded_posts, candidates)
        rewards[rows] = np.concatenate(found)[:, 0]
        scored[name] = rewards
        log.info("scored by %s", name)
    names = [folder.name for folder in reward_models]
    ends = np.cumsum([len(table) for table in tables])
    for path, end, table in zip(scores, ends, tables, strict=True):
        write_table(scored.iloc[end - len(table) : end], path, aligned_scores(names))


if __name__ == "__main__":
    command(score_aligned)
