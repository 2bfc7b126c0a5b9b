import itertools
import math
from pathlib import Path

from underspec.command import command
from underspec.tokens import save_tokenizer, train_tokenizer

LINES = 20_000  # minutes on more, for the same frequent pieces


def tokenizer(*, text: Path, kind: str, vocabulary: int, output: Path) -> None:
    """Train the tokenizer on (the first shard of) the pretraining text.

    Of a long text, evenly spaced lines are taken.
    """
    with text.open(encoding="utf-8") as lines:
        every = math.ceil(sum(1 for _ in lines) / LINES)
        lines.seek(0)
        taken = (line.rstrip("\n") for line in itertools.islice(lines, 0, None, every))
        trained = train_tokenizer(taken, kind, vocabulary)
    save_tokenizer(trained, output)


if __name__ == "__main__":
    command(tokenizer)
