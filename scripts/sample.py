from pathlib import Path
from typing import Annotated

from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.artifacts import POSTS, SAMPLES, of_split, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.data.tokenization import encode, load_tokenizer
from underspec.inference.sampling import draw_samples
from underspec.models.t5 import for_inference, load


def sample(
    *,
    posts: Path,
    tokenizer: Path,
    policy: Path,
    shape: Annotated[dict, sections.Shape],
    lengths: Annotated[dict, sections.Lengths],
    split: str,
    samples: sections.Size,
    distribution: Annotated[dict, sections.Distribution],
    seed: sections.Seed,
    precision: sections.Precision,
    output: Path,
) -> None:
    """Draw samples of the policy for every post of a split."""
    trained = load_tokenizer(tokenizer)
    table = of_split(read_table(posts, POSTS), split, posts)
    model = load(T5ForConditionalGeneration, policy, shape, trained.get_vocab_size())
    drawn = draw_samples(
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
