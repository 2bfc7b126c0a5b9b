from pathlib import Path

from underspec.artifacts import POSTS, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.data import judgements as source
from underspec.data.worlds import world_class


def judgements(
    *,
    world: str,
    options: dict,
    posts: Path,
    seed: sections.Seed,
    per_post: sections.Count,
    output: Path,
    raw: Path | None = None,
) -> None:
    """Write judgements of single statements, which some reward models learn from: the world's own,
    or `per_post` made for each post."""
    chosen = world_class(world)
    if chosen.has_judgements:
        table = chosen(options, raw).judgements()
    else:
        table = source.judgements(world, read_table(posts, POSTS), seed, per_post)
    reward = source.kinds()[world]
    source.check(table, output, reward)
    write_table(table, output, source.SCHEMAS[reward])


if __name__ == "__main__":
    command(judgements)
