"""The reward model: a T5 that encodes the post and decodes the candidate, with linear heads."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import initialization
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import (
    T5ForConditionalGeneration,
    T5Model,
    T5PreTrainedModel,
)

from underspec.data.tokenization import PAD, check_batchable, pad
from underspec.models.fused_layers import ATTENTION
from underspec.models.t5 import load, t5_config

# Candidates are decoded in groups of similar length: most are half as long as the longest.
LENGTH_GROUPS = 2


class RewardModel(T5PreTrainedModel):
    """The reward r(y; x) of candidate y for post x.

    It is a linear function of the decoder's states, averaged over the candidate's tokens. (Our
    choice; the paper does not specify it.) With several heads (`reward_heads` in its config) there
    are as many rewards.
    """

    config_class = T5Config
    base_model_prefix = "transformer"
    _tied_weights_keys = {
        f"transformer.{tied}": f"transformer.{source}"
        for tied, source in T5Model._tied_weights_keys.items()
    }

    def __init__(self, config: T5Config):
        super().__init__(config)
        config._attn_implementation = (
            ATTENTION  # transformers' own copies the post for each candidate
        )
        self.transformer = T5Model(config)
        self.head = nn.Linear(config.d_model, getattr(config, "reward_heads", 1))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is getattr(self, "head", None):
            initialization.normal_(module.weight, std=self.config.d_model**-0.5)
            initialization.zeros_(module.bias)

    @property
    def heads(self) -> int:
        return self.head.out_features

    @staticmethod
    def check(**texts: list[np.ndarray]) -> None:
        """Raise ArtifactError, naming the first bad one, if a text is empty or has padding."""
        for kind, ids in texts.items():
            check_batchable((f"{kind} {i}" for i in range(len(ids))), ids)

    @staticmethod
    def inputs(posts: list[np.ndarray], candidates: list[np.ndarray]) -> dict[str, Tensor]:
        """The arguments of `forward`."""
        return {
            "posts": torch.from_numpy(pad(posts)),
            "candidates": torch.from_numpy(pad(candidates)),
        }

    def forward(self, posts: Tensor, candidates: Tensor) -> Tensor:
        """Rewards (candidates, heads) of token ids `candidates` (candidates, length).

        Each row of `posts` (posts, length) has the same number of candidates, in the order of the
        posts, and is encoded once. Both are padded at the end.
        """
        mask = (posts != PAD).long()
        encoded = self.transformer.encoder(input_ids=posts, attention_mask=mask).last_hidden_state
        sets = candidates.view(len(posts), -1, candidates.shape[-1])
        lengths = (sets != PAD).sum(2).amax(1)
        order = lengths.argsort(stable=True)
        rewards = [
            self._decode(
                encoded[rows], mask[rows], sets[rows, :, : lengths[rows[-1]]].flatten(0, 1)
            )
            for rows in order.tensor_split(min(LENGTH_GROUPS, len(order)))
        ]
        by_post = torch.cat(rewards).view(len(posts), -1, self.head.out_features)
        return by_post[order.argsort()].flatten(0, 1)

    def _decode(self, encoded: Tensor, mask: Tensor, candidates: Tensor) -> Tensor:
        shifted = nn.functional.pad(candidates[:, :-1], (1, 0), value=PAD)
        states = self.transformer.decoder(
            input_ids=shifted,
            encoder_hidden_states=encoded,
            encoder_attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
        weight = (candidates != PAD).to(states.dtype)[:, :, None]
        pooled = (states * weight).sum(1) / weight.sum(1)
        return self.head(pooled).float()


def new_reward_model(
    pretrained: Path, shape: dict, vocabulary: int, seed: int, heads: int = 1
) -> RewardModel:
    """The checkpoint `pretrained` with reward heads drawn by `seed`."""
    encoder_decoder = load(T5ForConditionalGeneration, pretrained, shape, vocabulary)
    torch.manual_seed(seed)
    config = t5_config(shape, vocabulary)
    config.reward_heads = heads
    model = RewardModel(config)
    state = {
        name: value
        for name, value in encoder_decoder.state_dict().items()
        if not name.startswith("lm_head")
    }
    model.transformer.load_state_dict(state)
    return model
