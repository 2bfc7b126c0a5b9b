"""How the processes of a training share its model, and how it is run.

Results change by rounding alone, except that a compiled model draws other dropout masks.
"""

import warnings
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from transformers.models.t5.modeling_t5 import T5Block, T5PreTrainedModel

from underspec.errors import ConfigError
from underspec.models.compiler import need_compiler


@dataclass(frozen=True)
class Placement:
    """How a training is laid on its devices."""

    micro_batch: int | None = None  # rows that a process takes at once; None: all that are its
    sharded: bool = False  # weights, gradients and moments spread over the processes (FSDP2)
    activation_checkpointing: bool = False  # compute activations twice and do not keep them
    compiled: bool = False  # fuse what a block does between its matrix products (torch.compile)


ALONE = Placement()


def place(model: T5PreTrainedModel, accelerator: Accelerator, placement: Placement) -> nn.Module:
    """`model` on this process's device, replicated (DDP) or sharded over all processes.

    Raises ConfigError if it is to be compiled without a C compiler, or with activation
    checkpointing, around which nothing would be compiled.
    """
    blocks = [module for module in model.modules() if isinstance(module, T5Block)]
    if placement.activation_checkpointing:
        model.gradient_checkpointing_enable()
    if placement.compiled:
        need_compiler("compute: compiled", ", or set compiled to false")
        if placement.activation_checkpointing:
            raise ConfigError(
                "compute: compiled excludes activation_checkpointing; set one of them to false"
            )
        torch._dynamo.config.recompile_limit = 64  # four programs for each shape of a micro-batch
        for block in blocks:
            block.compile(dynamic=False)  # alike ones share their code
    if not placement.sharded or not distributed.is_initialized():
        return accelerator.prepare(model)
    # PyTorch's own, as Accelerate shards on GPUs only and this has to be tested on CPUs too.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")
    for block in blocks:
        fully_shard(block)
    return fully_shard(model)


def whole_model(
    kind: type[T5PreTrainedModel], trained: nn.Module, accelerator: Accelerator
) -> T5PreTrainedModel | None:
    """The model, of class `kind`, that `place` made `trained` of: in the first process, that is,
    and None in the others, whose part ends here.
    """
    if not distributed.is_initialized():
        return accelerator.unwrap_model(trained, keep_fp32_wrapper=False)
    weights = get_model_state_dict(
        trained, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    config = accelerator.unwrap_model(trained).config
    accelerator.end_training()
    if not accelerator.is_main_process:
        return None
    model = kind(config)
    model.load_state_dict(weights)
    return model.to(accelerator.device)


def sum_over_processes(accelerator: Accelerator, *numbers: float) -> list[float]:
    """The sum of each number over all processes, in every process."""
    if accelerator.num_processes == 1:
        return [float(number) for number in numbers]
    return accelerator.reduce(
        torch.tensor(numbers, dtype=torch.float32, device=accelerator.device)
    ).tolist()
