from pathlib import Path

from underspec.artifacts import JUDGEMENTS, POSTS, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.data import judgements as source


def judgements(
    *,
    world: str,
    posts: Path,
    seed: sections.Seed,
    per_post: sections.Count,
    output: Path,
) -> None:
    """Write whether posts support statements: what pointwise reward models learn from."""
    table = source.judgements(world, read_table(posts, POSTS), seed, per_post)
    source.check(table, output)
    write_table(table, output, JUDGEMENTS)


if __name__ == "__main__":
    command(judgements)
