from pathlib import Path

from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.artifacts import POSTS, SAMPLES, read_table, write_table
from underspec.command import command
from underspec.models import for_inference, load
from underspec.sampling import draw
from underspec.tokens import encode, load_tokenizer


def sample(
    *,
    posts: Path,
    tokenizer: Path,
    policy: Path,
    shape: dict,
    lengths: dict,
    split: str,
    samples: int,
    distribution: dict,
    seed: int,
    precision: str,
    output: Path,
) -> None:
    """Draw samples of the policy for every post of a split."""
    trained = load_tokenizer(tokenizer)
    table = read_table(posts, POSTS).query("split == @split")
    model = load(T5ForConditionalGeneration, policy, shape, trained.get_vocab_size())
    drawn = draw(
        for_inference(model, precision),
        trained,
        list(table.post_id),
        encode(trained, table.post, lengths["post"]),
        samples,
        lengths["summary"] - 1,  # reward models read it with an eos, which must fit too
        seed,
        **distribution,
    )
    write_table(drawn, output, SAMPLES)


if __name__ == "__main__":
    command(sample)
