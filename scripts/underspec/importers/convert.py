"""Turns imported weights into a T5 of this experiment, after checking their names and shapes."""

import hashlib
import logging

import torch
from torch import Tensor, nn
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.errors import ArtifactError
from underspec.models.t5 import encoder_decoder, some, t5_config

log = logging.getLogger(__name__)


def fits(rows: int, vocabulary: int) -> bool:
    """Whether an embedding has one row per token, or is padded to a multiple of 128 as in T5."""
    return rows in (vocabulary, -(-vocabulary // 128) * 128)


def parameter_shapes(shape: dict, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of a T5 of the given shape; tied parameters once."""
    return {name: tuple(each.shape) for name, each in _empty(shape, vocabulary).named_parameters()}


def t5_of(
    source: str, weights: dict[str, Tensor], shape: dict, vocabulary: int
) -> T5ForConditionalGeneration:
    """A T5 of the given shape with `weights` in fp32; `source` names them in messages.

    `weights` are named as in `parameter_shapes`, and are not copied if that is not necessary. Rows
    of the embedding and the head beyond `vocabulary` are dropped. Raises ArtifactError if a name or
    a shape does not match.
    """
    wanted = parameter_shapes(shape, vocabulary)
    if differing := sorted(wanted.keys() ^ weights.keys()):
        raise ArtifactError(f"{source}: parameters not those of this T5: {some(differing)}")
    rows = len(weights["shared.weight"])
    if rows > vocabulary and fits(rows, vocabulary):
        log.info("the last %d of %d rows of the embedding are padding", rows - vocabulary, rows)
        cut = weights.keys() & {"shared.weight", "lm_head.weight"}
        weights = weights | {name: weights[name][:vocabulary].clone() for name in cut}
    if wrong := [name for name in wanted if tuple(weights[name].shape) != wanted[name]]:
        raise ArtifactError(f"{source}: parameters of another shape: {some(wrong)}")
    weights = {name: value.float() for name, value in weights.items()}
    model = _empty(shape, vocabulary)
    model.load_state_dict(weights, strict=False, assign=True)  # tied parameters have one name
    model.tie_weights()
    return model


def digest(model: nn.Module) -> str:
    """SHA-256 of all parameters by name; it does not depend on the format they came in."""
    found = hashlib.sha256()
    for name, values in sorted(model.named_parameters()):
        found.update(name.encode())
        found.update(values.detach().cpu().contiguous().numpy())
    return found.hexdigest()


def _empty(shape: dict, vocabulary: int) -> T5ForConditionalGeneration:
    """A T5 on the meta device: it has no weights and takes no memory."""
    config = t5_config(shape, vocabulary)
    with torch.device("meta"):
        return encoder_decoder(config)(config)
