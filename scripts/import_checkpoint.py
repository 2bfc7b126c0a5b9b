from pathlib import Path
from typing import Annotated, Literal

from underspec.architectures import architecture_of
from underspec.command import command
from underspec.config import sections
from underspec.schema import Flag, Section, Text


class Imported(Section):
    """The location of an imported checkpoint, as `sources.checkpoint_of` returns it."""

    source: Literal["released", "hub"]
    path: Text
    revision: Text
    trust_pickle: Flag


def import_checkpoint(
    *,
    checkpoint: Annotated[dict, Imported],
    tokenizer: Path,
    architecture: Annotated[dict, sections.Architecture],
    output: Path,
) -> None:
    """Take an existing pretrained checkpoint: T5X (`released`) or Hugging Face's format (`hub`).

    `checkpoint` says where it is: source, path, revision. What is written is what the stage
    pretrain writes, without a training log; beside models of other families than T5, their own
    tokenizer.
    """
    architecture_of(tokenizer, architecture).import_pretrained(checkpoint, output)


if __name__ == "__main__":
    command(import_checkpoint)
