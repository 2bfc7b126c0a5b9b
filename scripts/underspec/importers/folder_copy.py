"""Copies models of other families than T5 as they are: config, weights and tokenizer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from underspec.errors import ArtifactError, first_line
from underspec.files import REMAKE, atomic
from underspec.importers.convert import digest
from underspec.importers.huggingface import PICKLED, READ, check_complete, find
from underspec.models.sequence_classifier import read_config
from underspec.models.t5 import parameters, some

IMPORTED = "import"  # the stage of what was not trained here


def copy_model(
    source: dict,
    output: Path,
    load: Callable[[Path], nn.Module],
    metrics: Callable[[Path, nn.Module], dict] | None = None,
) -> None:
    """Copy the model at `source` (path, revision, trust_pickle) to the folder `output`, once it is
    found to be whole.

    load: of a folder, or raises ArtifactError; metrics: of a folder and its model, to be written
    beside it. Pickled weights that are trusted become safetensors. Raises ArtifactError, naming the
    source, if weights are missing, damaged, not finite or not trusted, or if the model needs code
    of its own.
    """
    folder = find(source["path"], source["revision"], source["trust_pickle"])
    read_config(folder)
    check_complete(folder)
    with atomic(output) as unfinished:
        unfinished.mkdir()
        for path in (path for pattern in READ for path in folder.glob(pattern)):
            shutil.copyfile(path, unfinished / path.name)
        if not any(folder.glob("*.safetensors")):
            _convert(folder, unfinished)
        try:
            model = load(unfinished)
            _check_finite(model, unfinished)
            provenance = {"stage": IMPORTED, **source, "folder": str(folder)}
            provenance |= {"sha256": digest(model), "parameters": parameters(model)}
            found = metrics(unfinished, model) if metrics else {}
        except ArtifactError as error:  # of the copy, whose name says nothing
            said = str(error).replace(str(unfinished), str(folder))
            raise ArtifactError(said.replace(REMAKE, "get its files again")) from error
        (unfinished / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
        if found:
            (unfinished / "metrics.json").write_text(json.dumps(found, indent=2) + "\n")
        shutil.rmtree(output, ignore_errors=True)


def _check_finite(model: nn.Module, folder: Path) -> None:
    bad = [name for name, values in model.named_parameters() if not values.isfinite().all()]
    if bad:
        raise ArtifactError(f"{folder}: weights are not finite: {some(bad)}; get the files again")


def _convert(folder: Path, target: Path) -> None:
    """Write the pickled weights of `folder` as safetensors. PyTorch reads only tensors of them."""
    files: dict[str, str] = {}  # of each weight
    for path in sorted(folder.glob(PICKLED)):
        name = path.with_suffix(".safetensors").name.removeprefix("pytorch_")
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
            weights = {key: values.clone().contiguous() for key, values in weights.items()}
            save_file(weights, target / name, metadata={"format": "pt"})
        except Exception as error:  # PyTorch and safetensors raise whatever they meet
            raise ArtifactError(f"{path}: no file of weights ({first_line(error)})") from error
        files |= dict.fromkeys(weights, name)
    if len(set(files.values())) > 1:
        index = json.dumps({"metadata": {}, "weight_map": files})
        (target / "model.safetensors.index.json").write_text(index)
