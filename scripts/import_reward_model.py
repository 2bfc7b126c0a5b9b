import logging
from functools import partial
from pathlib import Path
from typing import Annotated

from torch import nn

from underspec.architectures import architecture_of
from underspec.command import command
from underspec.config import sections
from underspec.errors import ArtifactError
from underspec.importers.folder_copy import copy_model
from underspec.inference.held_out import KINDS
from underspec.models.t5 import for_inference, parameters

log = logging.getLogger("underspec.import_reward_model")


def import_reward_model(
    *,
    finished: Annotated[dict, sections.Finished],
    posts: Path,
    labelled: Path,
    tokenizer: Path,
    reward: sections.RewardKind,
    scale: str,
    architecture: Annotated[dict, sections.Architecture],
    lengths: Annotated[dict, sections.Lengths],
    pretrain_seed: sections.Seed,
    finetune_seed: sections.Seed,
    output: Path,
) -> None:
    """Take a reward model that was trained elsewhere, and measure it on the experiment's held-out
    examples.

    `finished` says where it is: path, revision. What is written is what the stage reward_model
    writes, without a training log.
    """
    models, kind = architecture_of(tokenizer, architecture), KINDS[reward]

    def load(folder: Path) -> nn.Module:
        model = models.load(folder)
        if model.heads != 1:
            raise ArtifactError(
                f"{folder}: returns {model.heads} numbers for a text, and a reward is one; a "
                "finished reward model is a sequence classifier with num_labels 1"
            )
        return model

    def metrics(folder: Path, model: nn.Module) -> dict:
        held_out = kind.encoded(posts, labelled, "validation", models.reader(folder, lengths))
        found = kind.held_out(partial(models.score, for_inference(model, "fp32")), *held_out)
        log.info(
            "held-out accuracy %.3f on %d %s", found["accuracy"], len(held_out[0]), kind.examples
        )
        seeds = {"pretrain_seed": pretrain_seed, "finetune_seed": finetune_seed}
        return {"scale": scale} | seeds | {"parameters": parameters(model)} | found

    copy_model(finished, output, load, metrics)


if __name__ == "__main__":
    command(import_reward_model)
