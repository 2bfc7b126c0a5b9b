from pathlib import Path

from transformers import PreTrainedTokenizerFast

from underspec.command import command
from underspec.tokens import train_tokenizer


def tokenizer(*, text: Path, kind: str, vocabulary: int, output: Path) -> None:
    """Train the tokenizer on the pretraining text and write it as AutoTokenizer reads it."""
    with text.open(encoding="utf-8") as lines:
        trained = train_tokenizer((line.rstrip("\n") for line in lines), kind, vocabulary)
    PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(output)


if __name__ == "__main__":
    command(tokenizer)
