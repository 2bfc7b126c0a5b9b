"""The average of the weights of several reward models: WARM (Ramé et al., 2401.12187)."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from underspec.errors import ArtifactError


class Start(BaseModel):
    """What of a reward model's provenance says which weights it started from."""

    model_config = ConfigDict(extra="allow", strict=True)
    scale: str
    pretrain_seed: int
    head_seed: int
    heads: int


def weight_average(members: Mapping[Path, Mapping], load: Callable[[Path], nn.Module]) -> nn.Module:
    """The reward model whose weights are the means of the members', in double precision.

    members: folder -> provenance; load: reads a folder. An average of weights is of use only if all
    members start from the same ones. Raises ArtifactError, naming the folder, if a member has
    another pretrained checkpoint or another initial head than the first.
    """
    (first, start), *others = ((folder, _start(of)) for folder, of in members.items())
    for folder, its_start in others:
        if its_start != start:
            raise ArtifactError(
                f"{folder}: starts from other weights ({its_start}) than {first} ({start}); their "
                "weights have no average"
            )
    sums: dict[str, torch.Tensor] = {}
    for folder in members:
        model = load(folder)
        for name, weights in model.named_parameters():
            sums[name] = sums.get(name, 0) + weights.detach().double()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.copy_(sums[name] / len(members))
    return model


def _start(provenance: Mapping) -> str:
    return ", ".join(f"{key} {provenance[key]}" for key in Start.model_fields)
