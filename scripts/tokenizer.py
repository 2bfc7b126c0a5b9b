import itertools
import math
from pathlib import Path

from underspec.command import command
from underspec.config import sections
from underspec.data.tokenization import save_tokenizer, train_tokenizer
from underspec.errors import ArtifactError
from underspec.files import REMAKE, read_lines

LINES = 20_000  # minutes on more, for the same frequent pieces


def tokenizer(
    *,
    text: Path,
    kind: sections.TokenizerKind,
    vocabulary: sections.Vocabulary,
    line_breaks: sections.Flag = False,
    output: Path,
) -> None:
    """Train the tokenizer on (the first shard of) the pretraining text.

    Of a long text, evenly spaced lines are taken. line_breaks: whether a line break is a token.
    """
    if not (documents := sum(1 for _ in read_lines(text))):
        raise ArtifactError(f"{text}: empty; {REMAKE}")
    every = math.ceil(documents / LINES)
    taken = itertools.islice(read_lines(text), 0, None, every)
    save_tokenizer(train_tokenizer(taken, kind, vocabulary, line_breaks), output)


if __name__ == "__main__":
    command(tokenizer)
