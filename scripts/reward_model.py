import logging
import shutil
from pathlib import Path
from typing import Annotated

from underspec.command import command
from underspec.config import sections
from underspec.data.comparisons import encoded_comparisons
from underspec.data.tokenization import load_tokenizer
from underspec.inference.scoring import pairwise_accuracy
from underspec.models.reward_model import new_reward_model
from underspec.models.t5 import parameters, save
from underspec.recipe import DeviceLayout, Recipe
from underspec.training.loop import train
from underspec.training.objectives.preference import preference

log = logging.getLogger("underspec.reward_model")


def reward_model(
    *,
    posts: Path,
    preferences: Path,
    tokenizer: Path,
    pretrained: Path,
    scale: str,
    shape: Annotated[dict, sections.Shape],
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
    """Finetune a pretrained checkpoint on preferences: Bradley-Terry with centring (section 2.1).

    The finetuning seed sets the data order and dropout, head_seed the initial reward heads. In the
    paper's reward models the two are the same.
    """
    trained = load_tokenizer(tokenizer)
    training, held_out = (
        encoded_comparisons(posts, preferences, split, trained, lengths)
        for split in ("preferences", "validation")
    )
    model = new_reward_model(pretrained, shape, trained.get_vocab_size(), head_seed, heads)
    objective = preference(*training, recipe["batch"], finetune_seed, centering)
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
    accuracy = pairwise_accuracy(model, *held_out)
    log.info("held-out pairwise accuracy %.3f on %d pairs", accuracy, len(held_out[0]))
    identity = {"scale": scale, "pretrain_seed": pretrain_seed, "finetune_seed": finetune_seed}
    metrics = {
        **identity,
        "parameters": parameters(model),
        "accuracy": accuracy,
        "pairs": len(held_out[0]),
    }
    heads_drawn = {"head_seed": head_seed, "heads": heads}
    about = {"stage": "reward model", **identity, **heads_drawn}
    about |= {"recipe": recipe, "centering": centering}
    save(model, output, rows, about, metrics)
    shutil.rmtree(checkpoints, ignore_errors=True)


if __name__ == "__main__":
    command(reward_model)
