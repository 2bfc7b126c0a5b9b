from pathlib import Path
from typing import Annotated

from underspec.command import command
from underspec.config import sections
from underspec.data.published_files import download
from underspec.data.tokenization import import_t5, save_tokenizer


def import_tokenizer(
    *,
    source: Annotated[dict, sections.Source],
    vocabulary: sections.Vocabulary,
    line_breaks: sections.Flag = False,
    output: Path,
) -> None:
    """Import the published T5 tokenizer, filled up to `vocabulary` tokens; with `line_breaks`, one
    of these is a line break."""
    folder = download(sections.Source(**source), ["tokenizer.json"], "model")
    save_tokenizer(import_t5(folder / "tokenizer.json", vocabulary, line_breaks), output)


if __name__ == "__main__":
    command(import_tokenizer)
