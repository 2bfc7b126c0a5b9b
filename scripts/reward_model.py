import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Annotated

from underspec.architectures import architecture_of
from underspec.command import command
from underspec.config import sections
from underspec.inference.held_out import KINDS
from underspec.models.t5 import parameters, save
from underspec.recipe import DeviceLayout, Recipe
from underspec.training.loop import train

log = logging.getLogger("underspec.reward_model")


def reward_model(
    *,
    posts: Path,
    labelled: Path,
    tokenizer: Path,
    pretrained: Path,
    reward: sections.RewardKind,
    scale: str,
    architecture: Annotated[dict, sections.Architecture],
    lengths: Annotated[dict, sections.Lengths],
    recipe: Annotated[dict, sections.Recipe],
    centering: sections.Centering,
    pretrain_seed: sections.Seed,
    finetune_seed: sections.Seed,
    head_seed: sections.Seed,
    heads: sections.Heads,
    checkpoints: Path,
    save_seconds: float,
    device_layout: Annotated[dict, sections.DeviceLayout],
    output: Path,
) -> None:
    """Finetune a pretrained checkpoint on comparisons, by Bradley-Terry with centring (section
    2.1), or on judgements of single statements, by binary cross-entropy or, if they are ratings, by
    squared error.

    labelled: the table of one or the other, as the kind of reward says.
    The finetuning seed sets the data order and dropout, head_seed the initial reward heads. In the
    paper's reward models the two are the same.
    """
    models, kind = architecture_of(tokenizer, architecture), KINDS[reward]
    reader = models.reader(pretrained, lengths)
    training, held_out = (
        kind.encoded(posts, labelled, split, reader) for split in ("preferences", "validation")
    )
    model = models.new(pretrained, head_seed, heads)
    objective = kind.objective(*training, recipe["batch"], finetune_seed, centering, type(model))
    result = train(
        model,
        objective,
        Recipe(**recipe),
        finetune_seed,
        checkpoints,
        save_seconds,
        DeviceLayout(**device_layout),
    )
    if result is None:  # the first process of this job has it
        return
    model, rows = result
    found = kind.held_out(partial(models.score, model), *held_out)
    log.info("held-out accuracy %.3f on %d %s", found["accuracy"], len(held_out[0]), kind.examples)
    identity = {"scale": scale, "pretrain_seed": pretrain_seed, "finetune_seed": finetune_seed}
    metrics = identity | {"parameters": parameters(model)} | found
    heads_drawn = {"head_seed": head_seed, "heads": heads}
    about = {"stage": "reward model", **identity, **heads_drawn}
    about |= {"recipe": recipe, "reward": reward, "centering": centering}
    save(model, output, rows, about, metrics, models.tokenizer_of(pretrained))
    shutil.rmtree(checkpoints, ignore_errors=True)


if __name__ == "__main__":
    command(reward_model)
