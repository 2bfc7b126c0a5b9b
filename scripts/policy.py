import shutil
from pathlib import Path

from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.artifacts import POSTS, read_table
from underspec.command import command
from underspec.models import load, save
from underspec.objectives.sft import sft
from underspec.parallel import Placement
from underspec.tokens import encode, load_tokenizer
from underspec.training import Recipe, train


def policy(
    *,
    posts: Path,
    tokenizer: Path,
    pretrain: Path,
    shape: dict,
    lengths: dict,
    recipe: dict,
    seed: int,
    checkpoints: Path,
    save_seconds: float,
    placement: dict,
    output: Path,
) -> None:
    """Finetune a pretrain on posts and references: the SFT policy (paper, section 2.1)."""
    trained = load_tokenizer(tokenizer)
    table = read_table(posts, POSTS).query("split == 'policy'")
    inputs = encode(trained, table.post, lengths["post"])
    targets = encode(trained, table.reference, lengths["summary"])
    model = load(T5ForConditionalGeneration, pretrain, shape, trained.get_vocab_size())
    objective = sft(inputs, targets, recipe["batch"], seed)
    result = train(
        model,
        objective,
        Recipe(**recipe),
        seed,
        checkpoints,
        save_seconds,
        Placement(**placement),
    )
    if result is None:  # the first process of this job has it
        return
    model, rows = result
    save(model, output, rows, {"stage": "policy", "seed": seed, "recipe": recipe})
    shutil.rmtree(checkpoints, ignore_errors=True)


if __name__ == "__main__":
    command(policy)
