import logging
from pathlib import Path
from typing import Annotated

import numpy as np

from underspec.artifacts import SAMPLES, SCORES, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.data.candidates import encoded_candidates
from underspec.data.tokenization import load_tokenizer
from underspec.errors import ArtifactError
from underspec.inference.scoring import score as score_candidates
from underspec.models.reward_model import RewardModel
from underspec.models.t5 import for_inference, load

log = logging.getLogger("underspec.score")


def score(
    *,
    posts: Path,
    samples: Path,
    tokenizer: Path,
    reward_models: list[Path],
    shape: Annotated[dict, sections.Shape],
    lengths: Annotated[dict, sections.Lengths],
    precision: sections.Precision,
    scores: list[Path],
) -> None:
    """Score every sample with reward models of one scale.

    scores: the tables to write, in the order of the reward models, one for each of their heads.
    """
    trained = load_tokenizer(tokenizer)
    table = read_table(samples, SAMPLES)
    encoded_posts, candidates, rows = encoded_candidates(posts, table, samples, trained, lengths)
    pending = list(scores)
    for done, folder in enumerate(reward_models, start=1):
        model = load(RewardModel, folder, shape, trained.get_vocab_size())
        heads = model.head.out_features
        its_own, pending = pending[:heads], pending[heads:]
        if len(its_own) < heads or (pending and done == len(reward_models)):
            raise ArtifactError(
                f"{folder}: has {heads} reward heads and {len(its_own + pending)} tables for them; "
                "give --scores one for each head of each reward model"
            )
        model = for_inference(model, precision)
        rewards = np.empty((len(table), heads), np.float32)
        rewards[rows] = np.concatenate(score_candidates(model, encoded_posts, candidates))
        for path, reward in zip(its_own, rewards.T, strict=True):
            write_table(table[["post_id", "sample_index"]].assign(reward=reward), path, SCORES)
        log.info("%d of %d reward models", done, len(reward_models))


if __name__ == "__main__":
    command(score)
