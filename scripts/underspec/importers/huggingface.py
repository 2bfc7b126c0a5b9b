"""Pretrains in Hugging Face's format: a local folder, or a repository on the Hub."""

import json
import logging
from pathlib import Path

import tokenizers
from huggingface_hub import snapshot_download
from torch import Tensor
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.data.published_files import missing_shards
from underspec.data.tokenization import load_tokenizer, used_tokens
from underspec.errors import ArtifactError, first_line
from underspec.importers.convert import fits
from underspec.models.t5 import load

log = logging.getLogger(__name__)

SAFE = ["*.json", "*.safetensors"]  # older models come as *.bin, many as both


def find(path: str, revision: str) -> Path:
    """The folder of a model: `path` itself, or where the Hub's `path` at `revision` was put.

    Raises ArtifactError if it is neither here nor to be had.
    """
    if (Path(path) / "config.json").is_file():
        return Path(path)
    if Path(path).is_dir():
        raise ArtifactError(f"{path}/config.json: no such file; see pretrain.checkpoints")
    try:
        folder = Path(snapshot_download(path, revision=revision, allow_patterns=SAFE))
        if not any(folder.glob("*.safetensors")):
            snapshot_download(path, revision=revision, allow_patterns="*.bin")
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: neither a folder here nor to be had from the Hub at revision {revision} "
            f"({first_line(error)}); see pretrain.checkpoints and the network"
        ) from None
    return folder


def read_hub(folder: Path, shape: dict, tokenizer: tokenizers.Tokenizer) -> dict[str, Tensor]:
    """The weights in `folder`, named as in `imported.parameter_shapes`.

    The embedding may have more rows than the tokenizer has tokens, up to T5's padding. Raises
    ArtifactError, naming the folder, if the model is damaged, lacks a shard, or is no T5 of this
    shape, or if the folder brings a tokenizer that is not the experiment's.
    """
    vocabulary = tokenizer.get_vocab_size()
    if missing := _missing_weights(folder):
        raise ArtifactError(
            f"{folder}: only a part of the weights is there: {', '.join(missing)} missing; get the "
            "rest of the model (from the Hub, where there is internet)"
        )
    if not (folder / "tokenizer.json").is_file():
        log.warning("%s has no tokenizer.json: whether its tokens are ours is not checked", folder)
    elif used_tokens(load_tokenizer(folder)) != used_tokens(tokenizer):
        raise ArtifactError(
            f"{folder}: pretrained with another tokenizer than the experiment's; see tokenizer"
        )
    rows = _rows(folder)
    wanted = rows if fits(rows, vocabulary) else vocabulary
    model = load(T5ForConditionalGeneration, folder, shape, wanted)
    return {name: each.data for name, each in model.named_parameters()}


def _missing_weights(folder: Path) -> list[str]:
    """The files of weights that the folder should have, by its index and by their own names.

    Of weights in both formats transformers takes those in safetensors.
    """
    safe = any(folder.glob("*.safetensors*"))
    whole, kind = ("model.safetensors", "*.safetensors") if safe else ("pytorch_model.bin", "*.bin")
    if (folder / whole).is_file():
        return []
    try:
        index = json.loads((folder / f"{whole}.index.json").read_text())
        named = set(index["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return missing_shards(folder.glob(kind))  # `load` says what is wrong with the index
    return sorted(name for name in named if not (folder / str(name)).is_file())


def _rows(folder: Path) -> int:
    """The rows of the embedding by the model's config; 0 if it cannot be read: `load` says why."""
    try:
        return int(json.loads((folder / "config.json").read_text())["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
