import math
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from underspec.command import command
from underspec.tokens import train_tokenizer

LINES = 20_000  # minutes on more, for the same frequent pieces


def tokenizer(*, text: Path, kind: str, vocabulary: int, output: Path) -> None:
    """Train the tokenizer on the pretraining text and write it as AutoTokenizer reads it.

    Of a long text, evenly spaced lines are taken.
    """
    lines = text.read_text(encoding="utf-8").splitlines()
    every = math.ceil(len(lines) / LINES)
    trained = train_tokenizer(lines[::every], kind, vocabulary)
    PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(output)


if __name__ == "__main__":
    command(tokenizer)
