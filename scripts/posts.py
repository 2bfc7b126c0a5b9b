from pathlib import Path

from underspec.artifacts import POSTS, write_table
from underspec.command import command
from underspec.data.worlds import world_class


def posts(*, world: str, options: dict, output: Path, raw: Path | None = None) -> None:
    """Write the world's posts and references, each in one split."""
    write_table(world_class(world)(options, raw).posts(), output, POSTS)


if __name__ == "__main__":
    command(posts)
