import logging
from functools import partial
from pathlib import Path
from typing import Annotated

from underspec.analysis.reward_matrix import read_json
from underspec.architectures import architecture_of
from underspec.command import command
from underspec.config import sections
from underspec.inference.held_out import KINDS
from underspec.models.t5 import for_inference, parameters, save
from underspec.models.weight_average import Start, weight_average

log = logging.getLogger("underspec.warm")


def warm(
    *,
    posts: Path,
    labelled: Path,
    tokenizer: Path,
    members: list[Path],
    reward: sections.RewardKind,
    scale: str,
    pretrain_seed: sections.Seed,
    architecture: Annotated[dict, sections.Architecture],
    lengths: Annotated[dict, sections.Lengths],
    output: Path,
) -> None:
    """Average the weights of reward models of one pretrained checkpoint (WARM, 2401.12187)."""
    models, kind = architecture_of(tokenizer, architecture), KINDS[reward]
    provenance = {folder: read_json(folder / "provenance.json", Start) for folder in members}
    model = weight_average(provenance, models.load)
    held_out = kind.encoded(posts, labelled, "validation", models.reader(members[0], lengths))
    score = partial(models.score, for_inference(model, "fp32"))
    found = kind.held_out(score, *held_out)
    log.info("held-out accuracy %.3f on %d %s", found["accuracy"], len(held_out[0]), kind.examples)
    identity = {"scale": scale, "pretrain_seed": pretrain_seed}
    metrics = identity | {"parameters": parameters(model)} | found
    about = {
        "stage": "average of weights",
        **identity,
        "members": [str(path.name) for path in members],
    }
    save(model, output, [], about, metrics, models.tokenizer_of(members[0]))


if __name__ == "__main__":
    command(warm)
