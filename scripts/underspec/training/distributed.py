"""How the processes of a training share the model, and how they run it."""

import time
import warnings

import torch
from accelerate import Accelerator
from torch import Tensor, distributed, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from underspec.errors import ConfigError
from underspec.models.compiler import need_compiler
from underspec.recipe import DeviceLayout


def distribute(model: nn.Module, accelerator: Accelerator, layout: DeviceLayout) -> nn.Module:
    """`model` on this process's device, replicated (DDP) or sharded over all processes.

    Raises ConfigError if it is to be compiled but there is no C compiler, or if it also uses
    activation checkpointing, which would prevent compilation.
    """
    named = (getattr(module, "_no_split_modules", None) or () for module in model.modules())
    kinds = {kind for kinds in named for kind in kinds}
    blocks = [module for module in model.modules() if type(module).__name__ in kinds]
    if layout.activation_checkpointing:
        model.gradient_checkpointing_enable()
    if layout.compiled:
        need_compiler("compute: compiled", ", or set compiled to false")
        if layout.activation_checkpointing:
            raise ConfigError(
                "compute: compiled excludes activation_checkpointing; set one of them to false"
            )
        torch._dynamo.config.recompile_limit = 64  # four programs per shape of a micro-batch
        for block in blocks:
            block.compile(dynamic=False)  # equal blocks share their code
    if not layout.sharded or not distributed.is_initialized():
        return accelerator.prepare(model)
    # Accelerate shards on GPUs only; PyTorch's own function can be tested on CPUs too.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")
    for block in blocks:
        fully_shard(block)
    return fully_shard(model)


def whole_model(
    kind: type[nn.Module], trained: nn.Module, accelerator: Accelerator
) -> nn.Module | None:
    """The whole model, of class `kind`, in the first process; None in the others.

    Ends the other processes' part in the training. `trained` comes from `distribute`.
    """
    model = accelerator.unwrap_model(trained, keep_fp32_wrapper=False)
    if not distributed.is_initialized():
        return model
    accelerator.wait_for_everyone()
    weights = None
    if isinstance(trained, FSDPModule):
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights = get_model_state_dict(trained, options=options)
    accelerator.end_training()
    # Gloo's thread needs the GIL to let go of the last steps' tensors, and whoever deletes the DDP
    # model waits for that thread while it holds the GIL: forever, if there is no pause before.
    time.sleep(0.5)
    if not accelerator.is_main_process:
        return None
    if weights:
        model = kind(model.config)
        model.load_state_dict(weights)
    return model.to(accelerator.device)


def whole(value: Tensor) -> Tensor:
    """`value`, also if it is sharded over processes."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def sum_over_processes(accelerator: Accelerator, *numbers: float) -> list[float]:
    """The sum of each number over all processes, in every process."""
    if accelerator.num_processes == 1:
        return [float(number) for number in numbers]
    return accelerator.reduce(
        torch.tensor(numbers, dtype=torch.float32, device=accelerator.device)
    ).tolist()
