"""Imports T5X checkpoints, which have one zarr array per parameter, from a folder or a bucket.

A checkpoint is a folder with a file `checkpoint`, written last, and a folder for each array
(t5x/checkpoints.py of google-research/t5x): `target.*` are the model's, the others the
optimizer's. Scanned layers are refused: in T5X and Flaxformer, scanned models have a position bias
in every layer, but T5 has one for all layers.
"""

import logging
import re
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import tensorstore
import torch
from torch import Tensor

from underspec.errors import ArtifactError, first_line
from underspec.importers.convert import fits, parameter_shapes
from underspec.models.t5 import some

log = logging.getLogger(__name__)

# Gives up on an unreachable bucket after half a minute.
RETRIES = {"max_retries": 5, "initial_delay": "1s", "max_delay": "8s"}
FLOATS = ("float64", "float32", "float16", "bfloat16")
COPY = "copy the checkpoint again"
OTHER = "a checkpoint of another scale; see models.<scale>.shape and pretrain.checkpoints"

# (encoder or decoder, index in the layer, part) in Hugging Face's names -> T5X's name.
PARTS = {
    ("encoder", "0", "layer_norm"): "pre_attention_layer_norm",
    ("encoder", "0", "SelfAttention"): "attention",
    ("encoder", "1", "layer_norm"): "pre_mlp_layer_norm",
    ("encoder", "1", "DenseReluDense"): "mlp",
    ("decoder", "0", "layer_norm"): "pre_self_attention_layer_norm",
    ("decoder", "0", "SelfAttention"): "self_attention",
    ("decoder", "1", "layer_norm"): "pre_cross_attention_layer_norm",
    ("decoder", "1", "EncDecAttention"): "encoder_decoder_attention",
    ("decoder", "2", "layer_norm"): "pre_mlp_layer_norm",
    ("decoder", "2", "DenseReluDense"): "mlp",
}
PROJECTIONS = {"q": "query", "k": "key", "v": "value", "o": "out"}
IN_LAYER = re.compile(r"(\w+)\.block\.(\d+)\.layer\.(\d)\.(\w+)(?:\.(\w+))?\.weight")


def t5x_name(name: str) -> str:
    """T5X's name of the parameter `name` in Hugging Face's T5."""
    if name == "shared.weight":
        return "token_embedder.embedding"
    if name == "lm_head.weight":
        return "decoder.logits_dense.kernel"
    side = name.split(".")[0]
    if name.endswith("final_layer_norm.weight"):
        return f"{side}.{side}_norm.scale"
    if name.endswith("relative_attention_bias.weight"):
        return f"{side}.relpos_bias.rel_embedding"
    side, layer, index, part, matrix = IN_LAYER.fullmatch(name).groups()
    leaf = f"{PROJECTIONS.get(matrix, matrix)}.kernel" if matrix else "scale"
    return f"{side}.layers_{layer}.{PARTS[side, index, part]}.{leaf}"


def read_t5x(path: str, shape: dict, vocabulary: int) -> dict[str, Tensor]:
    """The weights of the T5X checkpoint at `path`, a folder or gs://bucket/folder.

    They have Hugging Face's names and orientation, in single precision. The embedding may have more
    rows than `vocabulary`, up to T5's padding. All names, shapes and files are checked before any
    array is read. Raises ArtifactError, naming the file and the cure, if the checkpoint is damaged,
    cannot be reached, or is not a T5 of this shape.
    """
    path = path.rstrip("/")
    context = tensorstore.Context({"gcs_request_retries": RETRIES})
    files = _files(path, context)
    wanted = parameter_shapes(shape, vocabulary)
    _check_names(path, files, {t5x_name(name) for name in wanted}, shape)
    arrays = {name: _open(f"{path}/target.{t5x_name(name)}", context) for name in wanted}
    for name, array in arrays.items():
        _check_array(f"{path}/target.{t5x_name(name)}", array, wanted[name], vocabulary)
        _check_chunks(path, f"target.{t5x_name(name)}", array, files)
    weights = {}
    for done, (name, array) in enumerate(arrays.items(), start=1):
        values = _read(f"{path}/target.{t5x_name(name)}", array)
        values = values if name == "shared.weight" else values.T
        weights[name] = torch.from_numpy(np.ascontiguousarray(values))
        if done % max(1, len(arrays) // 10) == 0 or done == len(arrays):
            log.info("%d of %d arrays read", done, len(arrays))
    return weights


def _store(path: str) -> dict:
    """The key-value store of a local folder or of a folder in a bucket."""
    if path.startswith("gs://"):
        address = urlsplit(path)
        return {"driver": "gcs", "bucket": address.netloc, "path": f"{address.path[1:]}/"}
    return {"driver": "file", "path": f"{Path(path).resolve()}/"}


def _files(path: str, context: tensorstore.Context) -> set[str]:
    """The paths of all files of the checkpoint, relative to its folder."""
    if "://" not in path and not Path(path).is_dir():
        raise ArtifactError(f"{path}: no such folder; see pretrain.checkpoints")
    try:
        store = tensorstore.KvStore.open(_store(path), context=context).result()
        files = {key.decode() for key in store.list().result()}
    except (ValueError, OSError) as error:
        raise ArtifactError(
            f"{path}: cannot be listed ({_cause(error)}); see pretrain.checkpoints and the "
            "network, or copy it here and name the local folder"
        ) from None
    if "checkpoint" not in files:
        near = sorted(file.removesuffix("/checkpoint") for file in files if "/checkpoint" in file)
        hint = f"; there are some in {some(near)}" if near else ""
        raise ArtifactError(
            f"{path}/checkpoint: no such file, so this is not a whole T5X checkpoint{hint}; "
            f"see pretrain.checkpoints, or {COPY}"
        )
    return files


def _check_names(path: str, files: set[str], wanted: set[str], shape: dict) -> None:
    """Check that the folder has exactly the arrays `wanted`, apart from the optimizer's."""
    found = {
        file.removeprefix("target.").removesuffix("/.zarray")
        for file in files
        if file.startswith("target.") and file.endswith("/.zarray")
    }
    if any(name.startswith(("encoder.encoder.", "decoder.decoder.")) for name in found):
        raise ArtifactError(
            f"{path}: its layers are scanned, so each has its own position bias, which T5 does "
            "not have; use a checkpoint whose layers are not scanned"
        )
    version = shape.get("version", "v1.0")
    if found and version != (other := "v1.1" if any("wi_0" in name for name in found) else "v1.0"):
        raise ArtifactError(
            f"{path}: a T5 {other}, not {version}; see models.<scale>.shape.version"
        )
    missing, left_over = sorted(wanted - found), sorted(found - wanted)
    if missing and left_over:
        raise ArtifactError(f"{path}: lacks {some(missing)}, has {some(left_over)}: {OTHER}")
    if left_over:
        raise ArtifactError(f"{path}: unknown arrays {some(left_over)}: {OTHER}")
    if missing:
        raise ArtifactError(
            f"{path}/target.{missing[0]}: missing ({len(missing)} of {len(wanted)} arrays are); "
            f"{COPY}, or it is of another scale: see models.<scale>.shape"
        )


def _open(path: str, context: tensorstore.Context) -> tensorstore.TensorStore:
    try:
        spec = {"driver": "zarr", "kvstore": _store(path)}
        return tensorstore.open(spec, context=context, read=True).result()
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path}/.zarray: cannot be read ({_cause(error)}); {COPY}") from None


def _check_array(
    path: str, array: tensorstore.TensorStore, wanted: tuple[int, ...], vocabulary: int
) -> None:
    """Check that the array has the shape `wanted` (Hugging Face's) and a floating-point type."""
    if array.dtype.name not in FLOATS:
        raise ArtifactError(f"{path}: {array.dtype.name}, not one of {', '.join(FLOATS)}")
    embedding = path.endswith("token_embedder.embedding")
    found = tuple(array.shape) if embedding else tuple(reversed(array.shape))
    rows = found[:1]
    if wanted[0] == vocabulary and rows and fits(rows[0], vocabulary):
        wanted = rows + wanted[1:]
    if found != wanted:
        raise ArtifactError(f"{path}: its shape is {found}, not {wanted}: {OTHER}")


def _check_chunks(path: str, name: str, array: tensorstore.TensorStore, files: set[str]) -> None:
    """Check that every chunk of the array exists; zarr would read a missing chunk as zeros."""
    stored = array.spec().to_json()["metadata"]
    counts = [-(-n // size) for n, size in zip(stored["shape"], stored["chunks"], strict=True)]
    separator = stored.get("dimension_separator", ".")
    for index in product(*map(range, counts)):
        if (file := f"{name}/{separator.join(map(str, index)) or 0}") not in files:
            raise ArtifactError(f"{path}/{file}: missing; {COPY}")


def _read(path: str, array: tensorstore.TensorStore) -> np.ndarray:
    try:
        return tensorstore.cast(array, tensorstore.float32).read().result()
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path}: cannot be read ({_cause(error)}); {COPY}") from None


def _cause(error: Exception) -> str:
    return first_line(error).split(" [")[0]
