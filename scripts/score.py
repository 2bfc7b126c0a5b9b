import logging
from pathlib import Path
from typing import Annotated

import numpy as np

from underspec import sections
from underspec.artifacts import SAMPLES, SCORES, read_posts, read_table, write_table
from underspec.command import command
from underspec.models import for_inference, load
from underspec.reward_model import RewardModel
from underspec.scoring import score as score_candidates
from underspec.tokens import encode, load_tokenizer

log = logging.getLogger("underspec.score")


def score(
    *,
    posts: Path,
    samples: Path,
    tokenizer: Path,
    reward_models: Path,
    names: list[str],
    shape: Annotated[dict, sections.Shape],
    lengths: Annotated[dict, sections.Lengths],
    precision: sections.Precision,
    output: Path,
) -> None:
    """Score every sample with the reward models `names` in a folder, which are of one scale."""
    trained = load_tokenizer(tokenizer)
    table = read_table(samples, SAMPLES)
    post_of = read_posts(posts, table.post_id, samples).set_index("post_id").post
    groups = table.groupby("post_id", sort=False).indices
    encoded_posts = encode(trained, post_of[list(groups)], lengths["post"])
    texts = encode(trained, table.text, lengths["summary"])
    candidates = [[texts[row] for row in rows] for rows in groups.values()]
    rows = np.concatenate(list(groups.values()))
    for done, name in enumerate(names, start=1):
        model = load(RewardModel, reward_models / name, shape, trained.get_vocab_size())
        model = for_inference(model, precision)
        rewards = np.empty(len(table), np.float32)
        rewards[rows] = np.concatenate(score_candidates(model, encoded_posts, candidates))
        scores = table[["post_id", "sample_index"]].assign(reward=rewards)
        write_table(scores, output / f"{name}.parquet", SCORES)
        log.info("%d of %d reward models", done, len(names))


if __name__ == "__main__":
    command(score)
