"""Reward models of other families than T5, as transformers has them: sequence classifiers with
rewards as their logits.

Their folders open with AutoModelForSequenceClassification.
"""

import json
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel

from underspec.errors import ArtifactError
from underspec.files import MAKE
from underspec.models.t5 import check_types, damage_reported, some

NO_LIMIT = 2**31  # positions of models whose config names no largest number
# What older files have beside weights, and transformers computes.
BUFFERS = re.compile(r"(attention|attn)\.(bias|masked_bias)$|\.inv_freq$|\.position_ids$")
POOLER = ".pooler."  # a pretrained checkpoint may lack it; it is then drawn like the heads


class SequenceClassifier(nn.Module):
    """The reward r(y; x) of candidate y for post x, read as one text.

    It is the logit of the classifier `model`; with several heads there are as many.
    """

    def __init__(self, config: PreTrainedConfig, model: PreTrainedModel | None = None):
        super().__init__()
        self.config = config
        self.model = model or AutoModelForSequenceClassification.from_config(config)

    @property
    def heads(self) -> int:
        return self.config.num_labels

    @property
    def device(self) -> torch.device:
        return self.model.device

    def save_pretrained(self, folder: Path) -> None:
        self.model.save_pretrained(folder)

    def gradient_checkpointing_enable(self) -> None:
        self.model.gradient_checkpointing_enable()

    @staticmethod
    def check(**texts: list[np.ndarray]) -> None:
        """Raise ArtifactError, naming the first, if a text that follows a post is empty."""
        for kind, ids in texts.items():
            empty = [i for i, each in enumerate(ids) if len(each) == 0 and kind != "post"]
            if empty:
                raise ArtifactError(f"{kind} {empty[0]}: has no tokens")

    @staticmethod
    def inputs(posts: list[np.ndarray], candidates: list[np.ndarray]) -> dict[str, Tensor]:
        """The arguments of the forward pass for candidates of posts, an equal number of each, in
        the order of the posts (see `data.readers`).
        """
        each = len(candidates) // len(posts)
        texts = [
            torch.from_numpy(np.concatenate([posts[i // each], ids]))
            for i, ids in enumerate(candidates)
        ]
        return {
            "candidates": pad_sequence(texts, batch_first=True),
            "lengths": torch.tensor([len(ids) for ids in texts]),
        }


class EncoderClassifier(SequenceClassifier):
    """An encoder with its own classification head."""

    def forward(self, candidates: Tensor, lengths: Tensor) -> Tensor:
        """Rewards (candidates, heads) of the token ids of candidates after their posts (candidates,
        length), padded at the end to the longest of `lengths`.
        """
        positions = torch.arange(candidates.shape[1], device=candidates.device)
        inputs = {"attention_mask": (positions < lengths[:, None]).long()}
        if getattr(self.config, "type_vocab_size", 0) > 1:
            ends = (candidates == self.config.sep_token_id).long()
            inputs["token_type_ids"] = (ends.cumsum(1) - ends).clamp(max=1)
        return self.model(input_ids=candidates, **inputs).logits.float()


class DecoderClassifier(SequenceClassifier):
    """A decoder with a linear head on the last token."""

    def forward(self, candidates: Tensor, lengths: Tensor) -> Tensor:
        """As an encoder's. No token sees the padding."""
        states = self.model.base_model(input_ids=candidates, use_cache=False).last_hidden_state
        return self.rewards(states, candidates, lengths)

    def rewards(self, states: Tensor, candidates: Tensor, lengths: Tensor) -> Tensor:
        """From the states (candidates, length, width): those of the last token other than the
        padding token of the config, as in transformers.
        """
        positions = torch.arange(candidates.shape[1], device=candidates.device)
        read = positions < lengths[:, None]
        if (padding := self.config.pad_token_id) is not None:
            read &= candidates != padding
        last = torch.where(read, positions, 0).amax(1)
        rows = torch.arange(len(candidates), device=candidates.device)
        return self.model.score(states[rows, last]).float()


def read_config(folder: Path) -> PreTrainedConfig:
    """The config of the model in `folder`.

    Raises ArtifactError, naming the folder, if there is none, or if it names code of its own, which
    never runs.
    """
    if not (folder / "config.json").is_file():  # otherwise transformers looks for it on the Hub
        raise ArtifactError(f"{folder}: no model there; {MAKE}")
    with damage_reported(folder):
        for name in ("config.json", "tokenizer_config.json"):
            if (folder / name).is_file() and "auto_map" in json.loads((folder / name).read_text()):
                raise ValueError(f"{name} has auto_map: the model needs code of its own, never run")
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def longest_text(config: PreTrainedConfig) -> int:
    """The number of positions that a model has."""
    return getattr(config, "max_position_embeddings", None) or NO_LIMIT


def load(kind: type[SequenceClassifier], folder: Path) -> SequenceClassifier:
    """The finetuned reward model in `folder`, in single precision.

    Raises ArtifactError, naming the folder, if it is missing, damaged, pickled or of another kind.
    """
    model, absent, foreign = _read(kind, folder)
    if absent:
        other = f", and with {some(foreign)}" if foreign else ""
        raise ArtifactError(
            f"{folder}: not a reward model: without weights of {some(absent)}{other}; needed is "
            f"what AutoModelForSequenceClassification opens, a {type(model.model).__name__}, and "
            "no pretrained checkpoint and no head of its own kind"
        )
    return model


def new(
    kind: type[SequenceClassifier],
    pretrained: Path,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    heads: int,
) -> SequenceClassifier:
    """The pretrained checkpoint with reward heads drawn by `seed`: normal with variance 1 / width,
    as T5's, and biases of 0.

    tokenizer: its own. Raises ArtifactError as `load` does.
    """
    tokens = {"sep_token_id": tokenizer.sep_token_id, "pad_token_id": padding(tokenizer)}
    model, absent, _ = _read(kind, pretrained, num_labels=heads, **tokens)
    if len(tokenizer) > model.config.vocab_size:
        raise ArtifactError(
            f"{pretrained}: its tokenizer has {len(tokenizer)} tokens, and the model "
            f"{model.config.vocab_size}; they do not belong together"
        )
    weights = dict(model.model.named_parameters())
    body = model.model.base_model_prefix + "."
    if lost := [name for name in absent if name.startswith(body) and POOLER not in name]:
        raise ArtifactError(f"{pretrained}: not a whole checkpoint: {some(lost)} missing")
    if not absent:
        raise ArtifactError(
            f"{pretrained}: has a classification head, as finished models do; name it under "
            "reward_models, or start from its pretrained checkpoint"
        )
    torch.manual_seed(seed)
    with torch.no_grad():
        for name in absent:
            if name.endswith("bias"):
                weights[name].zero_()
            else:
                weights[name].normal_(std=weights[name].shape[-1] ** -0.5)
    return model


def padding(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """The id of the padding token: the tokenizer's, unless that may end a text, or another special
    token named so; None if there is neither. A model without one refuses batches in transformers,
    rather than read the wrong token.
    """
    own = tokenizer.pad_token_id
    if own is not None and own not in (tokenizer.eos_token_id, tokenizer.unk_token_id):
        return own
    added = tokenizer.added_tokens_decoder.items()
    named = (id for id, token in added if token.special and "pad" in token.content.lower())
    return min(named, default=None)


def _read(
    kind: type[SequenceClassifier], folder: Path, **changes: int | None
) -> tuple[SequenceClassifier, list[str], list[str]]:
    """The model in `folder`, the names of its weights that are not there, and those of weights that
    are there and not needed: a language model's head.
    """
    config = read_config(folder)
    with damage_reported(folder):
        check_types(folder, BUFFERS)
        config.update(changes)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the report names them, and they are refused below
        )
        causal = hasattr(model, "score")
        if causal != (kind is DecoderClassifier) or config.is_encoder_decoder:
            raise ValueError(
                f"{type(model).__name__} is no model of the architecture that the config names"
            )
    faults = set(map(str, report["mismatched_keys"])) | set(report["error_msgs"])
    own = model.base_model_prefix + "."
    faults |= {
        name
        for name in report["unexpected_keys"]
        if name.startswith(own) and not BUFFERS.search(name)
    }
    if faults:
        raise ArtifactError(
            f"{folder}: its weights are not those of its config: {some(sorted(faults))}; get the "
            "files again"
        )
    names = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    return kind(model.config, model), *names
