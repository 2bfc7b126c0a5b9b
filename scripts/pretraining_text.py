import logging
from pathlib import Path

from underspec.command import command
from underspec.errors import ArtifactError
from underspec.worlds import world_class

log = logging.getLogger("underspec.pretraining_text")


def pretraining_text(
    *,
    world: str,
    options: dict,
    output: Path,
    raw: Path | None = None,
    shard: int = 0,
    shards: int = 1,
) -> None:
    """Write a shard of the world's pretraining documents, one a line."""
    output.parent.mkdir(parents=True, exist_ok=True)
    documents = 0
    with output.open("w", encoding="utf-8") as file:
        for document in world_class(world)(options, raw).pretraining_shard(shard, shards):
            file.write(document + "\n")
            documents += 1
    if not documents:
        raise ArtifactError(
            f"world {world}: no pretraining text in shard {shard} of {shards}; "
            "lower pretraining.shards, or see what the world reads"
        )
    log.info("%d documents", documents)


if __name__ == "__main__":
    command(pretraining_text)
