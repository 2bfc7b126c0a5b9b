"""The recipe and the device layout of a training, as the config and the training know them.

Plain dataclasses: training needs no pydantic. `schema.section_of` makes sections of them, with the
bounds in the annotations.
"""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training."""

    steps: Annotated[int, {"gt": 0}]
    batch: Annotated[int, {"gt": 0, "le": 2**17}]  # rows per step, over all processes
    learning_rate: Annotated[float, {"gt": 0, "le": 10}]
    warmup: Annotated[int, {"ge": 0}]  # steps; their meaning depends on the schedule
    dropout: Annotated[float, {"ge": 0, "lt": 1}]
    weight_decay: Annotated[float, {"ge": 0, "le": 10}]
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    schedule: Literal["linear", "constant", "inverse_sqrt"] = "linear"
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: only matrix products, not weights and sums


@dataclass(frozen=True)
class DeviceLayout:
    """How a training uses its devices. It changes results only by rounding, except that a compiled
    model draws other dropout masks.
    """

    # Rows per forward pass; None: all rows of the process.
    micro_batch: Annotated[int | None, {"gt": 0}] = None
    sharded: bool = False  # shard weights, gradients and optimizer state (FSDP2)
    activation_checkpointing: bool = False  # recompute activations in the backward pass
    compiled: bool = False  # compile blocks with torch.compile
