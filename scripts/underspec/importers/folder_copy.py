"""Copies models of other families than T5 as they are: config, weights and tokenizer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from underspec.errors import ArtifactError, first_line
from underspec.files import atomic
from underspec.importers.convert import digest
from underspec.importers.huggingface import PICKLED, READ, check_complete, find
from underspec.models.sequence_classifier import read_config
from underspec.models.t5 import parameters, some


def copy_model(
    source: dict, output: Path, check: Callable[[Path], tuple[nn.Module, dict]], stage: str
) -> None:
    """Copy the model at `source` (path, revision, trust_pickle) to the folder `output`.

    check: returns the model of the copied folder, and its metrics, if there are any; or raises
    ArtifactError. Pickled weights that are trusted become safetensors. Raises ArtifactError, naming
    the source, if weights are missing, damaged, not finite or not trusted, or if the model needs
    code of its own.
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
            model, metrics = check(unfinished)
        except ArtifactError as error:  # of the copy, whose name says nothing
            raise ArtifactError(str(error).replace(str(unfinished), str(folder))) from error
        bad = [name for name, values in model.named_parameters() if not values.isfinite().all()]
        if bad:
            raise ArtifactError(f"{folder}: weights are not finite: {some(bad)}; get them again")
        provenance = {"stage": stage, **source, "folder": str(folder), "sha256": digest(model)}
        provenance["parameters"] = parameters(model)
        (unfinished / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
        if metrics:
            (unfinished / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        shutil.rmtree(output, ignore_errors=True)


def _convert(folder: Path, target: Path) -> None:
    """Write the pickled weights of `folder` as safetensors. PyTorch reads only tensors of them."""
    for path in sorted(folder.glob(PICKLED)):
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
            weights = {name: values.clone().contiguous() for name, values in weights.items()}
            save_file(weights, target / f"{path.stem}.safetensors", metadata={"format": "pt"})
        except Exception as error:  # PyTorch and safetensors raise whatever they meet
            raise ArtifactError(f"{path}: no file of weights ({first_line(error)})") from error
