"""T5X checkpoints: one zarr array a parameter, in a folder or a bucket.

A checkpoint is a folder with a file `checkpoint`, written last, and a folder for each array
(t5x/checkpoints.py of google-research/t5x): `target.*` are the model's, the others the
optimizer's. Scanned layers are refused: in T5X and in Flaxformer, scanned models have a position
bias in every layer, where T5 has one for all.
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

# A bucket that cannot be reached is given up after half a minute.
RETRIES = {"max_retries": 5, "initial_delay": "1s", "max_delay": "8s"}
FLOATS = ("float64", "float32", "float16", "bfloat16")
ANEW = "copy the checkpoint anew"
OTHER = "a checkpoint of another scale; see models.<scale>.shape and pretrain.checkpoints"

# T5X's names of a layer's parts, by Hugging Face's: side, place in the layer, part.
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
    """What T5X calls the parameter `name` of Hugging Face's T5."""
    if name == "shared.weight":
        return "token_embedder.embedding"
    if name == "lm_head.weight":
        return "decoder.logits_dense.kernel"
    side = name.split(".")[0]
    if name.endswith("final_layer_norm.weight"):
        return f"{side}.{side}_norm.scale"
    if name.endswith("relative_attention_bias.weight"):
        return f"{side}.relpos_bias.rel_embedding"
    side, layer, place, part, matrix = IN_LAYER.fullmatch(name).groups()
    leaf = f"{PROJECTIONS.get(matrix, matrix)}.kernel" if matrix else "scale"
    return f"{side}.layers_{layer}.{PARTS[side, place, part]}.{leaf}"


def read_t5x(place: str, shape: dict, vocabulary: int) -> dict[str, Tensor]:
    """The weights of the T5X checkpoint at `place`, a folder or gs://bucket/folder.

    Single precision, under Hugging Face's names, in its orientation; the embedding may have
    more rows than `vocabulary`, up to T5's padding. All names, shapes and files are checked
    before anything is read, and one array is held at a time beside the result. Raises
    ArtifactError, naming the file and the cure, if the checkpoint is not whole, cannot be
    reached, or is no T5 of this shape.
    """
    place = place.rstrip("/")
    context = tensorstore.Context({"gcs_request_retries": RETRIES})
    files = _files(place, context)
    wanted = parameter_shapes(shape, vocabulary)
    _check_names(place, files, {t5x_name(name) for name in wanted}, shape)
    arrays = {name: _open(f"{place}/target.{t5x_name(name)}", context) for name in wanted}
    for name, array in arrays.items():
        _check_array(f"{place}/target.{t5x_name(name)}", array, wanted[name], vocabulary)
        _check_chunks(place, f"target.{t5x_name(name)}", array, files)
    weights = {}
    for done, (name, array) in enumerate(arrays.items(), start=1):
        values = _read(f"{place}/target.{t5x_name(name)}", array)
        values = values if name == "shared.weight" else values.T
        weights[name] = torch.from_numpy(np.ascontiguousarray(values))
        if done % max(1, len(arrays) // 10) == 0 or done == len(arrays):
            log.info("%d of %d arrays read", done, len(arrays))
    return weights


def _store(place: str) -> dict:
    """The key-value store of a folder, or of a folder in a bucket."""
    if place.startswith("gs://"):
        address = urlsplit(place)
        return {"driver": "gcs", "bucket": address.netloc, "path": f"{address.path[1:]}/"}
    return {"driver": "file", "path": f"{Path(place).resolve()}/"}


def _files(place: str, context: tensorstore.Context) -> set[str]:
    """All files of the checkpoint, named from its folder on."""
    if "://" not in place and not Path(place).is_dir():
        raise ArtifactError(f"{place}: no such folder; see pretrain.checkpoints")
    try:
        store = tensorstore.KvStore.open(_store(place), context=context).result()
        files = {key.decode() for key in store.list().result()}
    except (ValueError, OSError) as error:
        raise ArtifactError(
            f"{place}: cannot be listed ({_cause(error)}); see pretrain.checkpoints and the "
            "network, or copy it here and name the local folder"
        ) from None
    if "checkpoint" not in files:
        near = sorted(file.removesuffix("/checkpoint") for file in files if "/checkpoint" in file)
        hint = f"; there are some in {some(near)}" if near else ""
        raise ArtifactError(
            f"{place}/checkpoint: no such file, so this is no whole T5X checkpoint{hint}; "
            f"see pretrain.checkpoints, or {ANEW}"
        )
    return files


def _check_names(place: str, files: set[str], wanted: set[str], shape: dict) -> None:
    """That the folder holds the arrays `wanted` and no others, the optimizer's excepted."""
    found = {
        file.removeprefix("target.").removesuffix("/.zarray")
        for file in files
        if file.startswith("target.") and file.endswith("/.zarray")
    }
    if any(name.startswith(("encoder.encoder.", "decoder.decoder.")) for name in found):
        raise ArtifactError(
            f"{place}: its layers are scanned, so each has a position bias of its own, "
            "which T5 has not; bring a checkpoint whose layers are not scanned"
        )
    version = shape.get("version", "v1.0")
    if found and version != (other := "v1.1" if any("wi_0" in name for name in found) else "v1.0"):
        raise ArtifactError(
            f"{place}: a T5 {other}, not {version}; see models.<scale>.shape.version"
        )
    missing, left_over = sorted(wanted - found), sorted(found - wanted)
    if missing and left_over:
        raise ArtifactError(f"{place}: lacks {some(missing)}, has {some(left_over)}: {OTHER}")
    if left_over:
        raise ArtifactError(f"{place}: no place for {some(left_over)}: {OTHER}")
    if missing:
        raise ArtifactError(
            f"{place}/target.{missing[0]}: missing ({len(missing)} of {len(wanted)} arrays are); "
            f"{ANEW}, or it is of another scale: see models.<scale>.shape"
        )


def _open(place: str, context: tensorstore.Context) -> tensorstore.TensorStore:
    try:
        spec = {"driver": "zarr", "kvstore": _store(place)}
        return tensorstore.open(spec, context=context, read=True).result()
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{place}/.zarray: cannot be read ({_cause(error)}); {ANEW}") from None


def _check_array(
    place: str, array: tensorstore.TensorStore, wanted: tuple[int, ...], vocabulary: int
) -> None:
    """That the array's shape is `wanted` (Hugging Face's), and that it holds real numbers."""
    if array.dtype.name not in FLOATS:
        raise ArtifactError(f"{place}: {array.dtype.name}, not one of {', '.join(FLOATS)}")
    embedding = place.endswith("token_embedder.embedding")
    found = tuple(array.shape) if embedding else tuple(reversed(array.shape))
    rows = found[:1]
    if wanted[0] == vocabulary and rows and fits(rows[0], vocabulary):
        wanted = rows + wanted[1:]
    if found != wanted:
        raise ArtifactError(f"{place}: its shape is {found}, not {wanted}: {OTHER}")


def _check_chunks(place: str, name: str, array: tensorstore.TensorStore, files: set[str]) -> None:
    """That every chunk of the array is there: zarr takes a missing one for zeros."""
    stored = array.spec().to_json()["metadata"]
    counts = [-(-n // size) for n, size in zip(stored["shape"], stored["chunks"], strict=True)]
    separator = stored.get("dimension_separator", ".")
    for index in product(*map(range, counts)):
        if (file := f"{name}/{separator.join(map(str, index)) or 0}") not in files:
            raise ArtifactError(f"{place}/{file}: missing; {ANEW}")


def _read(place: str, array: tensorstore.TensorStore) -> np.ndarray:
    try:
        return tensorstore.cast(array, tensorstore.float32).read().result()
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{place}: cannot be read ({_cause(error)}); {ANEW}") from None


def _cause(error: Exception) -> str:
    return first_line(error).split(" [")[0]
