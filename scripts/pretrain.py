import shutil
from pathlib import Path
from typing import Annotated

from underspec.command import command
from underspec.config import sections
from underspec.data.tokenization import first_sentinel, load_tokenizer
from underspec.files import read_tokens
from underspec.models.t5 import new_t5, save
from underspec.recipe import DeviceLayout, Recipe
from underspec.training.loop import train
from underspec.training.objectives.denoising import denoising


def pretrain(
    *,
    tokens: list[Path],
    tokenizer: Path,
    shape: Annotated[dict, sections.Shape],
    corruption: Annotated[dict, sections.Corruption],
    recipe: Annotated[dict, sections.Recipe],
    pretrain_seed: sections.Seed,
    checkpoints: Path,
    save_seconds: float,
    device_layout: Annotated[dict, sections.DeviceLayout],
    output: Path,
) -> None:
    """Pretrain a T5 from random initialisation by span corruption (paper, section 2.1).

    The seed sets the initialisation and the data and its order; nothing else differs.
    """
    trained = load_tokenizer(tokenizer)
    shards = [read_tokens(path) for path in tokens]
    objective = denoising(
        shards, first_sentinel(trained), recipe["batch"], pretrain_seed, **corruption
    )
    model = new_t5(shape, trained.get_vocab_size(), pretrain_seed)
    result = train(
        model,
        objective,
        Recipe(**recipe),
        pretrain_seed,
        checkpoints,
        save_seconds,
        DeviceLayout(**device_layout),
    )
    if result is None:  # the first process of this job has it
        return
    model, rows = result
    about = {"stage": "pretrain", "seed": pretrain_seed, "recipe": recipe, "corruption": corruption}
    save(model, output, rows, about)
    shutil.rmtree(checkpoints, ignore_errors=True)


if __name__ == "__main__":
    command(pretrain)
