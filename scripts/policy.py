import shutil
from pathlib import Path
from typing import Annotated

from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.artifacts import POSTS, of_split, read_table
from underspec.command import command
from underspec.config import sections
from underspec.data.tokenization import encode, load_tokenizer
from underspec.models.t5 import load, save
from underspec.recipe import DeviceLayout, Recipe
from underspec.training.loop import train
from underspec.training.objectives.sft import sft


def policy(
    *,
    posts: Path,
    tokenizer: Path,
    pretrained: Path,
    shape: Annotated[dict, sections.Shape],
    lengths: Annotated[dict, sections.Lengths],
    recipe: Annotated[dict, sections.Recipe],
    seed: sections.Seed,
    checkpoints: Path,
    save_seconds: float,
    device_layout: Annotated[dict, sections.DeviceLayout],
    output: Path,
) -> None:
    """Finetune a pretrained checkpoint on posts and references: the SFT policy (section 2.1)."""
    trained = load_tokenizer(tokenizer)
    table = of_split(read_table(posts, POSTS), "policy", posts)
    inputs = encode(trained, table.post, lengths["post"])
    targets = encode(trained, table.reference, lengths["summary"])
    model = load(T5ForConditionalGeneration, pretrained, shape, trained.get_vocab_size())
    objective = sft(inputs, targets, recipe["batch"], seed)
    result = train(
        model,
        objective,
        Recipe(**recipe),
        seed,
        checkpoints,
        save_seconds,
        DeviceLayout(**device_layout),
    )
    if result is None:  # the first process of this job has it
        return
    model, rows = result
    save(model, output, rows, {"stage": "policy", "seed": seed, "recipe": recipe})
    shutil.rmtree(checkpoints, ignore_errors=True)


if __name__ == "__main__":
    command(policy)
