"""The sections of the config about machines: what jobs need, and how long they would take."""

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from underspec import recipe
from underspec.schema import (
    Count,
    Name,
    NotNegative,
    Section,
    integer,
    number,
    or_null,
    section_of,
    some_of,
)

Efficiency = number(ge=1e-6, le=1)


class Need(section_of(recipe.DeviceLayout)):
    """The resources of a job, and the device layout of a training."""

    gpus: NotNegative
    nodes: Count
    cpus: Count
    mem_mb: Count
    minutes: Count
    growth_mem_mb: number(ge=1, le=10)
    growth_minutes: number(ge=1, le=10)
    max_mem_mb: or_null(Count)
    max_minutes: or_null(Count)

    @model_validator(mode="after")
    def _possible(self):
        for key in ("mem_mb", "minutes"):
            asked, most = getattr(self, key), getattr(self, f"max_{key}")
            if most and asked > most:
                raise PydanticCustomError(
                    "most",
                    f"asks for {asked} {key}, more than max_{key} ({most}); lower it, or raise "
                    f"max_{key}",
                )
        if self.compiled and self.activation_checkpointing:
            raise PydanticCustomError(
                "compiled",
                "is compiled and has activation_checkpointing; set one of them to false",
            )
        return self


SomeNeed = some_of(Need)


class Compute(Section):
    default: Need
    pretrain: dict[Name, SomeNeed]
    policy: dict[Name, SomeNeed]
    sample: dict[Name, SomeNeed]
    reward_model: dict[Name, SomeNeed]
    score: dict[Name, SomeNeed]
    rlhf: dict[Name, SomeNeed]


class ModelSize(Section):
    """The size of models that have no shape in the config: parameters of the layers and of the
    embeddings."""

    layers: Count
    width: Count
    body: integer(ge=1, le=10**13)
    embedding: integer(ge=0, le=10**13)


class Estimate(Section):
    tflops: number(ge=1e-3, le=1e6)
    training: Efficiency
    sampling: Efficiency
    scoring: Efficiency
    sizes: dict[Name, ModelSize]
