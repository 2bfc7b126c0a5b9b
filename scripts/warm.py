import logging
from pathlib import Path
from typing import Annotated

from underspec.analysis.reward_matrix import read_json
from underspec.command import command
from underspec.config import sections
from underspec.data.comparisons import encoded_comparisons
from underspec.data.tokenization import load_tokenizer
from underspec.inference.scoring import pairwise_accuracy
from underspec.models.t5 import for_inference, parameters, save
from underspec.models.weight_average import Start, weight_average

log = logging.getLogger("underspec.warm")


def warm(
    *,
    posts: Path,
    preferences: Path,
    tokenizer: Path,
    members: list[Path],
    scale: str,
    pretrain_seed: sections.Seed,
    shape: Annotated[dict, sections.Shape],
    lengths: Annotated[dict, sections.Lengths],
    output: Path,
) -> None:
    """Average the weights of reward models of one pretrained checkpoint (WARM, 2401.12187)."""
    trained = load_tokenizer(tokenizer)
    provenance = {folder: read_json(folder / "provenance.json", Start) for folder in members}
    model = weight_average(provenance, shape, trained.get_vocab_size())
    held_out = encoded_comparisons(posts, preferences, "validation", trained, lengths)
    accuracy = pairwise_accuracy(for_inference(model, "fp32"), *held_out)
    log.info("held-out pairwise accuracy %.3f on %d pairs", accuracy, len(held_out[0]))
    identity = {"scale": scale, "pretrain_seed": pretrain_seed}
    metrics = {
        **identity,
        "parameters": parameters(model),
        "accuracy": accuracy,
        "pairs": len(held_out[0]),
    }
    about = {
        "stage": "average of weights",
        **identity,
        "members": [str(path.name) for path in members],
    }
    save(model, output, [], about, metrics)


if __name__ == "__main__":
    command(warm)
