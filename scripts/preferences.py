from pathlib import Path
from typing import Annotated

import pandas as pd

from underspec.artifacts import PREFERENCES, SAMPLES, read_posts, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.data.gold_raters import gold_reward
from underspec.data.preferences import label_pairs
from underspec.data.worlds import world_class
from underspec.errors import ConfigError


def preferences(
    *,
    world: str,
    options: dict,
    labels: Annotated[dict, sections.Labels],
    posts: Path,
    output: Path,
    samples: list[Path] | None = None,
    raw: Path | None = None,
) -> None:
    """Write comparisons of summaries: the world's own, or a simulated rater's of `samples`."""
    source = world_class(world)
    if source.has_preferences:
        compared = source(options, raw).preferences()
    else:
        if not samples:
            raise ConfigError(f"world: {world} has no comparisons; say which --samples to compare")
        tables = {path: read_table(path, SAMPLES) for path in samples}
        for path, each in tables.items():
            table = read_posts(posts, each.post_id, path)
        drawn = pd.concat(tables.values(), ignore_index=True)
        split_of = table.set_index("post_id").split
        compared = label_pairs(drawn, split_of, gold_reward(world, table, drawn), **labels)
    write_table(compared, output, PREFERENCES)


if __name__ == "__main__":
    command(preferences)
