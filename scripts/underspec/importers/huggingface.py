"""Imports pretrained checkpoints in Hugging Face's format from a local folder or the Hub."""

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

# What is read of a folder: no code, and no pickled weights if there are others.
READ = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
PICKLED = "pytorch_model*.bin"


def find(path: str, revision: str, trust_pickle: bool = False) -> Path:
    """The folder of a model: `path` itself, or the download of the Hub's `path` at `revision`.

    Raises ArtifactError if there is neither, or if its weights are pickled and such are not
    trusted: a pickle can hold any code.
    """
    folder = Path(path)
    if not folder.is_dir():
        folder = _download(path, revision, trust_pickle)
    elif not (folder / "config.json").is_file():
        raise ArtifactError(f"{path}/config.json: no such file; see pretrain.checkpoints")
    if not any(folder.glob("*.safetensors*")) and not trust_pickle:
        raise ArtifactError(
            f"{path}: has no *.safetensors, and pickled weights can hold any code; convert them, "
            "or set trust_pickle: true at this path in the config"
        )
    return folder


def _download(path: str, revision: str, trust_pickle: bool) -> Path:
    try:
        folder = Path(snapshot_download(path, revision=revision, allow_patterns=READ))
        if trust_pickle and not any(folder.glob("*.safetensors")):
            snapshot_download(path, revision=revision, allow_patterns=PICKLED)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: not a local folder, and cannot be downloaded from the Hub at revision "
            f"{revision} ({first_line(error)}); check pretrain.checkpoints and the network"
        ) from None
    return folder


def read_hub(folder: Path, shape: dict, tokenizer: tokenizers.Tokenizer) -> dict[str, Tensor]:
    """The weights in `folder`, named as in `convert.parameter_shapes`.

    The embedding may have more rows than the tokenizer has tokens, up to T5's padding. Raises
    ArtifactError, naming the folder, if the model is damaged, lacks a shard, or is not a T5 of this
    shape, or if its tokenizer is not the experiment's.
    """
    vocabulary = tokenizer.get_vocab_size()
    check_complete(folder)
    if not (folder / "tokenizer.json").is_file():
        log.warning("%s has no tokenizer.json: cannot check that its tokens are ours", folder)
    elif used_tokens(load_tokenizer(folder)) != used_tokens(tokenizer):
        raise ArtifactError(
            f"{folder}: pretrained with another tokenizer than the experiment's; see tokenizer"
        )
    rows = _rows(folder)
    wanted = rows if fits(rows, vocabulary) else vocabulary
    model = load(T5ForConditionalGeneration, folder, shape, wanted)
    return {name: each.data for name, each in model.named_parameters()}


def check_complete(folder: Path) -> None:
    """Raise ArtifactError, naming the missing files, if only a part of the weights is there."""
    if missing := _missing_weights(folder):
        raise ArtifactError(
            f"{folder}: only a part of the weights is there: {', '.join(missing)} missing; get the "
            "remaining files of the model (from the Hub, with internet)"
        )


def _missing_weights(folder: Path) -> list[str]:
    """The missing files of weights, by the folder's index and by the files' names.

    If there are weights in both formats, transformers reads safetensors.
    """
    safe = any(folder.glob("*.safetensors*"))
    whole, kind = ("model.safetensors", "*.safetensors") if safe else ("pytorch_model.bin", PICKLED)
    if (folder / whole).is_file():
        return []
    try:
        index = json.loads((folder / f"{whole}.index.json").read_text())
        named = set(index["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return missing_shards(folder.glob(kind))  # `load` reports problems of the index
    return sorted(name for name in named if not (folder / str(name)).is_file())


def _rows(folder: Path) -> int:
    """The rows of the embedding in the model's config; 0 if unreadable, which `load` reports."""
    try:
        return int(json.loads((folder / "config.json").read_text())["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
