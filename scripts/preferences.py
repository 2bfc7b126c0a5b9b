from pathlib import Path

import pandas as pd

from underspec.artifacts import POSTS, PREFERENCES, SAMPLES, read_table, write_table
from underspec.command import command
from underspec.gold_raters import gold_reward
from underspec.preferences import label_pairs
from underspec.worlds import world_class


def preferences(
    *,
    world: str,
    options: dict,
    labels: dict,
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
        table = read_table(posts, POSTS)
        drawn = pd.concat([read_table(path, SAMPLES) for path in samples], ignore_index=True)
        split_of = table.set_index("post_id").split
        compared = label_pairs(drawn, split_of, gold_reward(world, table, drawn), **labels)
    write_table(compared, output, PREFERENCES)


if __name__ == "__main__":
    command(preferences)
