import logging
import shutil
from pathlib import Path
from typing import Annotated

from underspec.artifacts import PREFERENCES, of_split, read_posts, read_table
from underspec.command import command
from underspec.config import sections
from underspec.data.tokenization import encode, load_tokenizer
from underspec.errors import ArtifactError
from underspec.inference.scoring import pairwise_accuracy
from underspec.models.reward_model import new_reward_model
from underspec.models.t5 import parameters, save
from underspec.recipe import DeviceLayout, Recipe
from underspec.training.loop import train
from underspec.training.objectives.preference import distinguishable, preference

log = logging.getLogger("underspec.reward_model")


def reward_model(
    *,
    posts: Path,
    preferences: Path,
    tokenizer: Path,
    pretrain: Path,
    scale: str,
    shape: Annotated[dict, sections.Shape],
    lengths: Annotated[dict, sections.Lengths],
    recipe: Annotated[dict, sections.Recipe],
    centering: sections.Centering,
    pretrain_seed: sections.Seed,
    finetune_seed: sections.Seed,
    checkpoints: Path,
    save_seconds: float,
    device_layout: Annotated[dict, sections.DeviceLayout],
    output: Path,
) -> None:
    """Finetune a pretrain on preferences: Bradley-Terry with centring (paper, section 2.1).

    The finetune seed sets the initialisation of the reward head, the data order and dropout.
    """
    trained = load_tokenizer(tokenizer)
    compared = read_table(preferences, PREFERENCES)
    post_of = read_posts(posts, compared.post_id, preferences).set_index("post_id").post

    def pairs(split: str) -> list[list]:
        table = of_split(compared, split, preferences)
        different = distinguishable(
            encode(trained, table.post_id.map(post_of), lengths["post"]),
            encode(trained, table.chosen, lengths["summary"]),
            encode(trained, table.rejected, lengths["summary"]),
        )
        if equal := len(table) - len(different[0]):
            log.warning(
                "%s: %d of %d comparisons left out: their texts are equal after encoding and "
                "truncation to %d tokens",
                *(split, equal, len(table), lengths["summary"]),
            )
        if equal == len(table):
            raise ArtifactError(
                f"{preferences}: the texts of all comparisons of the split {split} are equal once "
                "encoded; raise lengths.summary, or see the tokenizer"
            )
        return different

    training, held_out = pairs("preferences"), pairs("validation")
    model = new_reward_model(pretrain, shape, trained.get_vocab_size(), finetune_seed)
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
    about = {"stage": "reward model", **identity, "recipe": recipe, "centering": centering}
    save(model, output, rows, about, metrics)
    shutil.rmtree(checkpoints, ignore_errors=True)


if __name__ == "__main__":
    command(reward_model)
