from pathlib import Path

from underspec.command import command
from underspec.worlds import world_class


def pretraining_text(*, world: str, options: dict, output: Path, raw: Path | None = None) -> None:
    """Write the world's pretraining documents, one a line."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", encoding="utf-8") as file:
        for document in world_class(world)(options, raw).pretraining_text():
            file.write(document + "\n")


if __name__ == "__main__":
    command(pretraining_text)
