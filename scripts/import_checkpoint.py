from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from underspec.command import command
from underspec.config import sections
from underspec.data.tokenization import load_tokenizer
from underspec.importers.convert import digest, t5_of
from underspec.importers.huggingface import find, read_hub
from underspec.importers.t5x import read_t5x
from underspec.models.t5 import save


def import_checkpoint(
    *,
    checkpoint: Annotated[dict, sections.Imported],
    tokenizer: Path,
    shape: Annotated[dict, sections.Shape],
    output: Path,
) -> None:
    """Take an existing pretrained checkpoint: T5X (`released`) or Hugging Face's format (`hub`).

    `checkpoint` says where it is: source, path, revision. What is written is what the stage
    pretrain writes, without a training log.
    """
    trained = load_tokenizer(tokenizer)
    vocabulary = trained.get_vocab_size()
    about = {"stage": "import", **checkpoint}
    if checkpoint["source"] == "released":
        weights = read_t5x(checkpoint["path"], shape, vocabulary)
        about["tensorstore"] = version("tensorstore")
    else:
        folder = find(checkpoint["path"], checkpoint["revision"])
        weights = read_hub(folder, shape, trained)
        about["folder"] = str(folder)  # the Hub's are named after their commit
    model = t5_of(checkpoint["path"], weights, shape, vocabulary)
    save(model, output, [], {**about, "sha256": digest(model)})


if __name__ == "__main__":
    command(import_checkpoint)
