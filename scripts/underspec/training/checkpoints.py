"""Checkpoints of a training, written atomically and readable by any number of processes.

These are PyTorch's distributed checkpoints: each process writes its own part, and a run may resume
with more or fewer processes. A checkpoint also holds the SHA-256 of each of its files, in the
format of sha256sum, so that a damaged checkpoint is never resumed from.
"""

import json
import logging
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

import torch.distributed.checkpoint as distributed_checkpoint
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import distributed, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.optim import Optimizer

from underspec.checksums import sha256
from underspec.errors import ArtifactError, UserError, first_line
from underspec.files import atomic, stale, unfinished_name

log = logging.getLogger(__name__)
# PyTorch warns at every checkpoint of a single process.
warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")

KEPT = 2  # the newest may get damaged, or a second copy of the job may be reading one
CHECKSUMS = "checksums.txt"


def save(
    accelerator: Accelerator,
    run: Path,
    step: int,
    rows: list[dict],
    model: nn.Module,
    optimizer: Optimizer,
) -> None:
    """Write the checkpoint of `step` to the folder `run`, and delete all but the last KEPT.

    The write is atomic, and a second copy of the same job does no harm. Raises UserError, and
    leaves nothing behind, if the checkpoint cannot be written.
    """
    final = run / f"step-{step:09d}"
    try:
        with atomic(final) if accelerator.is_main_process else nullcontext() as unfinished:
            (unfinished,) = broadcast_object_list([unfinished])
            distributed_checkpoint.save(
                _state(model, optimizer),
                checkpoint_id=unfinished,
                no_dist=not distributed.is_initialized(),
            )
            if accelerator.is_main_process:
                (unfinished / "progress.json").write_text(json.dumps({"step": step, "rows": rows}))
                (unfinished / CHECKSUMS).write_text(_checksums(unfinished))
    except (OSError, CheckpointException) as error:
        raise UserError(
            f"{run}: the checkpoint of step {step} could not be written ({_cause(error)}); "
            "check that the disk is not full, then run Snakemake again: it resumes from the "
            "previous checkpoint"
        ) from None
    if accelerator.is_main_process:
        for path in [*_finished(run)[:-KEPT], *stale(run)]:
            shutil.rmtree(path, ignore_errors=True)
    accelerator.wait_for_everyone()


def resume(
    accelerator: Accelerator, run: Path, model: nn.Module, optimizer: Optimizer
) -> tuple[int, list[dict]]:
    """Load the newest intact checkpoint in `run`; returns its step and log, or (0, []) without one.

    The first process chooses the checkpoint for all. Raises ArtifactError, naming the checkpoint,
    if it is intact but cannot be read.
    """
    (newest,) = broadcast_object_list([_newest(run) if accelerator.is_main_process else None])
    if newest is None:
        return 0, []
    state = _state(model, optimizer)
    try:
        distributed_checkpoint.load(
            state, checkpoint_id=newest, no_dist=not distributed.is_initialized()
        )
        progress = json.loads((newest / "progress.json").read_text())
    except (OSError, ValueError, CheckpointException) as error:
        raise ArtifactError(
            f"{newest}: cannot be read by this version of the code ({_cause(error)}); delete it to "
            "resume from the previous checkpoint, or from the start"
        ) from None
    set_state_dict(
        model,
        optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
    )
    log.info("resuming from step %d", progress["step"])
    return progress["step"], progress["rows"]


def _state(model: nn.Module, optimizer: Optimizer) -> dict:
    weights, moments = get_state_dict(model, optimizer)
    return {"model": weights, "optimizer": moments}


def _finished(run: Path) -> list[Path]:
    return sorted(run.glob("step-*[0-9]"))


def _newest(run: Path) -> Path | None:
    """The newest intact checkpoint in `run`, if there is one.

    Damaged checkpoints are renamed, since a later checkpoint may be of the same step.
    """
    while finished := _finished(run):
        newest = finished[-1]
        if not (damage := _damage(newest)):
            return newest
        log.warning(
            "%s: damaged (%s); resuming from the previous checkpoint, or from the start",
            newest,
            damage,
        )
        with suppress(FileNotFoundError):  # a second copy of this job was faster
            newest.rename(unfinished_name(newest))
    return None


def _damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint, in one line; empty if it is intact."""
    try:
        written = (checkpoint / CHECKSUMS).read_text().splitlines()
        found = _checksums(checkpoint).splitlines()
    except (OSError, ValueError) as error:
        return _cause(error)
    names = {line.partition("  ")[2] for line in set(written) ^ set(found)}
    return f"not as written: {', '.join(sorted(names))}" if names else ""


def _checksums(checkpoint: Path) -> str:
    """One line per file, except for the checksums themselves, in the format of sha256sum."""
    files = sorted(path for path in checkpoint.iterdir() if path.name != CHECKSUMS)
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        digests = pool.map(sha256, files)
        return "".join(f"{digest}  {p.name}\n" for digest, p in zip(digests, files, strict=True))


def _cause(error: BaseException) -> str:
    """The cause in one line; a CheckpointException holds one error per process."""
    if isinstance(error, CheckpointException):
        error, _ = next(iter(error.failures.values()))
    return first_line(error)
