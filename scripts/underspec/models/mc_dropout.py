"""MC dropout: members of an ensemble that are one reward model with some of its features dropped.

Gal and Ghahramani (1506.02142) take passes with dropout on as samples of a model. Here a pass is a
function of post and candidate: as in their 1512.05287, each place of dropout has one mask over its
features, the same at all positions. It is the same for all posts too (ours). Such a mask can be
multiplied into the weights beside it, so that a member is a reward model like others.
"""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from underspec.errors import ArtifactError
from underspec.models.reward_model import RewardModel
from underspec.random_streams import MASKS, stream_seed


class Recipe(BaseModel):
    """What of a training's recipe is needed."""

    model_config = ConfigDict(extra="allow", strict=True)
    dropout: Annotated[float, Field(ge=0, lt=1)]


class Training(BaseModel):
    """What of a reward model's provenance says how its members are drawn."""

    model_config = ConfigDict(extra="allow", strict=True)
    pretrain_seed: int
    finetune_seed: int
    recipe: Recipe


def members(
    model: RewardModel, folder: Path, provenance: Mapping, count: int
) -> Iterator[RewardModel]:
    """The first `count` members of the reward model in `folder`: with the dropout of its training,
    a function of its seeds. Each has other masks.

    provenance: that of the folder, with the keys of Training. Raises ArtifactError, naming the
    folder, if the reward model was trained without dropout.
    """
    training = Training.model_validate(provenance)
    if not training.recipe.dropout:
        raise ArtifactError(
            f"{folder}: was trained without dropout, so that all its members would be the same; "
            "set the dropout of reward models above 0 in the config, and run Snakemake again"
        )
    for member in range(count):
        seed = stream_seed(training.finetune_seed, MASKS, training.pretrain_seed, member)
        yield thinned(model, training.recipe.dropout, seed)


@torch.no_grad()
def thinned(model: RewardModel, rate: float, seed: int) -> RewardModel:
    """The reward model with each feature dropped with probability `rate`, and the others divided by
    1 - rate, wherever T5 has dropout on features.

    That is on embeddings, on what each attention and each feed-forward layer returns, on the inner
    features of the latter, and on the final states. Attention weights, which T5 drops in training
    as well, stay as they are: they have positions in place of features (ours). Weights that no
    mask touches are shared with `model`.
    """
    shared = {id(weights): weights for weights in model.parameters()}
    member = copy.deepcopy(model, shared)
    generator = np.random.default_rng(seed)

    def masked(weights: Tensor, axis: int = -1) -> nn.Parameter:
        kept = generator.random(weights.shape[axis]) >= rate
        mask = torch.from_numpy(kept / (1 - rate)).to(weights.device, torch.float32)
        mask = mask if axis == -1 else mask[:, None]
        return nn.Parameter((weights.float() * mask).to(weights.dtype), requires_grad=False)

    for stack in (member.transformer.encoder, member.transformer.decoder):
        # Encoder and decoder share their embeddings, and not the masks.
        stack.embed_tokens = nn.Embedding.from_pretrained(masked(stack.embed_tokens.weight))
        for *attentions, feed_forward in (block.layer for block in stack.block):
            for each in attentions:
                out = getattr(each, "SelfAttention", None) or each.EncDecAttention
                out.o.weight = masked(out.o.weight, axis=0)
            inner = feed_forward.DenseReluDense
            inner.wo.weight = masked(masked(inner.wo.weight), axis=0)
        stack.final_layer_norm.weight = masked(stack.final_layer_norm.weight)
    return member
