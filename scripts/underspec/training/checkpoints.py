"""Checkpoints of a training: whole or not used, and the same for any number of processes.

PyTorch's distributed checkpoints: every process writes what it holds, under names that do not
tell how many there were, so that a run may go on with more or fewer processes than it began.
A checkpoint also holds the SHA-256 of each of its files, in the format of sha256sum, so that a
damaged one is not trained on.
"""

import json
import logging
import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch.distributed.checkpoint as distributed_checkpoint
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import distributed, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.optim import Optimizer

from underspec.artifacts import stale, unfinished_name
from underspec.checksums import sha256
from underspec.errors import ArtifactError, UserError

log = logging.getLogger(__name__)
# Said at every checkpoint of a single process, which is what is asked for.
warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")

KEPT = 2  # the last ones: the newest may get damaged, and a second copy of the job may read one
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

    It is written under a name that no other process uses, and gets its own when it is whole: a
    second copy of the same job, which writes the same, does no harm. Raises UserError, and
    leaves nothing behind, if it cannot be written.
    """
    final = run / f"step-{step:09d}"
    (unfinished,) = broadcast_object_list([unfinished_name(final)])
    try:
        distributed_checkpoint.save(
            _state(model, optimizer),
            checkpoint_id=unfinished,
            no_dist=not distributed.is_initialized(),
        )
        if accelerator.is_main_process:
            (unfinished / "progress.json").write_text(json.dumps({"step": step, "rows": rows}))
            (unfinished / CHECKSUMS).write_text(_checksums(unfinished))
    except (OSError, CheckpointException) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise UserError(
            f"{run}: the checkpoint of step {step} could not be written ({_cause(error)}); "
            "see that the disk is not full, then run Snakemake again: it goes on from the one "
            "before"
        ) from None
    if accelerator.is_main_process:
        _finish(unfinished, final)
    accelerator.wait_for_everyone()


def resume(
    accelerator: Accelerator, run: Path, model: nn.Module, optimizer: Optimizer
) -> tuple[int, list[dict]]:
    """Load the newest whole checkpoint in `run`: its step and its log; (0, []) if there is none.

    The first process chooses it for all. Raises ArtifactError, naming the checkpoint, if it is as
    it was written and cannot be read all the same.
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
            f"{newest}: cannot be read by this version of the code ({_cause(error)}); delete it, "
            "and training goes on from the one before it, or from its start"
        ) from None
    set_state_dict(
        model,
        optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
    )
    log.info("going on from step %d", progress["step"])
    return progress["step"], progress["rows"]


def _state(model: nn.Module, optimizer: Optimizer) -> dict:
    weights, moments = get_state_dict(model, optimizer)
    return {"model": weights, "optimizer": moments}


def _finished(run: Path) -> list[Path]:
    return sorted(run.glob("step-*[0-9]"))


def _newest(run: Path) -> Path | None:
    """The newest whole checkpoint in `run`, if there is one.

    Damaged ones give up their names, as a later checkpoint may be of the same step.
    """
    while finished := _finished(run):
        newest = finished[-1]
        if not (damage := _damage(newest)):
            return newest
        log.warning(
            "%s: damaged (%s); training goes on from the checkpoint before it, or from its start",
            newest,
            damage,
        )
        with suppress(FileNotFoundError):  # a second copy of this job was faster
            newest.rename(unfinished_name(newest))
    return None


def _damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint, in a line; empty if it is as it was written."""
    try:
        written = (checkpoint / CHECKSUMS).read_text().splitlines()
        found = _checksums(checkpoint).splitlines()
    except (OSError, ValueError) as error:
        return _cause(error)
    names = {line.partition("  ")[2] for line in set(written) ^ set(found)}
    return f"not as written: {', '.join(sorted(names))}" if names else ""


def _checksums(checkpoint: Path) -> str:
    """A line for each file but the checksums themselves, as sha256sum writes it."""
    files = sorted(path for path in checkpoint.iterdir() if path.name != CHECKSUMS)
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        digests = pool.map(sha256, files)
        return "".join(f"{digest}  {p.name}\n" for digest, p in zip(digests, files, strict=True))


def _finish(unfinished: Path, final: Path) -> None:
    try:
        os.replace(unfinished, final)
    except OSError:  # a second copy of this job has written the same, and was faster
        shutil.rmtree(unfinished)
    superseded = _finished(final.parent)[:-KEPT]
    for path in [*superseded, *stale(final.parent)]:
        shutil.rmtree(path, ignore_errors=True)


def _cause(error: BaseException) -> str:
    """In a line; a CheckpointException tells what went wrong in which processes."""
    if isinstance(error, CheckpointException):
        error, _ = next(iter(error.failures.values()))
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
