"""The SFT objective: the reference given the post."""

import numpy as np
import torch

from underspec.data.tokenization import PAD, check_batchable, pad
from underspec.random_streams import examples
from underspec.training.loop import Batch, Objective
from underspec.training.objectives import IGNORED, digest, language_model_loss, target_tokens


def sft(posts: list[np.ndarray], references: list[np.ndarray], batch: int, seed: int) -> Objective:
    """Maximum likelihood of the reference given the post (token ids, one array per text).

    Raises ArtifactError if a text is empty or contains padding.
    """
    for kind, texts in (("post", posts), ("reference", references)):
        check_batchable((f"{kind} {i}" for i in range(len(texts))), texts)

    def make(step: int, rows: range) -> Batch:
        chosen = examples(seed, len(posts), batch, step, rows)
        inputs = torch.from_numpy(pad([posts[i] for i in chosen]))
        labels = torch.from_numpy(pad([references[i] for i in chosen]))
        return {
            "input_ids": inputs,
            "attention_mask": (inputs != PAD).long(),
            "labels": labels.masked_fill(labels == PAD, IGNORED),
        }

    settings = {"data": digest(posts, references)}
    return Objective(make, language_model_loss, target_tokens, settings)
