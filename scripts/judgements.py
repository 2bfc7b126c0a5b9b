from pathlib import Path

from underspec.artifacts import POSTS, read_table, write_table
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
    """Write judgements of single statements: what some reward models learn from."""
    table = source.judgements(world, read_table(posts, POSTS), seed, per_post)
    reward = source.kinds()[world]
    source.check(table, output, reward)
    write_table(table, output, source.SCHEMAS[reward])


if __name__ == "__main__":
    command(judgements)
