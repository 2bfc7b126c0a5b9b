import logging
from pathlib import Path
from typing import Annotated

from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.alignment.policy import divergences
from underspec.artifacts import ALIGNED_SAMPLES, POSTS, of_split, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.data.tokenization import encode, load_tokenizer
from underspec.inference.sampling import draw_tokens, samples_table
from underspec.models.t5 import for_inference, load

log = logging.getLogger("underspec.sample_aligned")


def sample_aligned(
    *,
    posts: Path,
    tokenizer: Path,
    sft_policy: Path,
    policies: list[Path],
    shape: Annotated[dict, sections.Shape],
    lengths: Annotated[dict, sections.Lengths],
    split: str,
    samples: sections.Size,
    seed: sections.Seed,
    precision: sections.Precision,
    tables: list[Path],
) -> None:
    """Draw samples of aligned policies for every post of a split, at temperature 1, each with its
    divergence from the SFT policy. All policies draw with the same random numbers.

    tables: the tables to write, in the order of the policies.
    """
    trained = load_tokenizer(tokenizer)
    table = of_split(read_table(posts, POSTS), split, posts)
    encoded = encode(trained, table.post, lengths["post"])
    longest = lengths["post"], lengths["summary"] - 1  # reward models read it with an eos

    def read(folder: Path) -> T5ForConditionalGeneration:
        model = load(T5ForConditionalGeneration, folder, shape, trained.get_vocab_size())
        return for_inference(model, precision)

    reference = read(sft_policy)
    for done, (folder, path) in enumerate(zip(policies, tables, strict=True), start=1):
        policy = read(folder)
        tokens, log_probs = draw_tokens(
            policy, list(table.post_id), encoded, samples, longest[1], seed
        )
        drawn = samples_table(trained, list(table.post_id), tokens, log_probs)
        drawn["kl"] = divergences(policy, reference, encoded, tokens, longest).ravel()
        write_table(drawn, path, ALIGNED_SAMPLES)
        log.info("%d of %d policies: KL %.2f nats", done, len(policies), drawn["kl"].mean())


if __name__ == "__main__":
    command(sample_aligned)
