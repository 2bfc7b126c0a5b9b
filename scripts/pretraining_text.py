import json
import logging
from pathlib import Path

from underspec.command import command
from underspec.config import sections
from underspec.data.worlds import world_class
from underspec.errors import ArtifactError, ConfigError

log = logging.getLogger("underspec.pretraining_text")


def pretraining_text(
    *,
    world: str,
    options: dict,
    text: Path,
    raw: Path | None = None,
    shard: sections.NotNegative = 0,
    shards: sections.Count = 1,
    left_out: Path | None = None,
) -> None:
    """Write a shard of the world's pretraining documents, one a line.

    text: the file; left_out: another for what was left out or mended, by reason, as JSON.
    """
    if shard >= shards:
        raise ConfigError(f"--shard: {shard} is beyond the {shards} shards, which begin with 0")
    text.parent.mkdir(parents=True, exist_ok=True)
    documents, source = 0, world_class(world)(options, raw)
    with text.open("w", encoding="utf-8") as file:
        for document in source.pretraining_shard(shard, shards):
            file.write(document + "\n")
            documents += 1
    if not documents:
        raise ArtifactError(
            f"world {world}: no pretraining text in shard {shard} of {shards}; "
            "lower pretraining.shards, or see what the world reads"
        )
    log.info("%d documents", documents)
    if left_out:
        left_out.write_text(json.dumps(+source.left_out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(pretraining_text)
