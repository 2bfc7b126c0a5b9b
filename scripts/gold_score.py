from pathlib import Path

from underspec.artifacts import POSTS, SAMPLES, SCORES, read_table, write_table
from underspec.command import command
from underspec.worlds import world_class


def gold_score(
    *, world: str, options: dict, posts: Path, samples: Path, output: Path, raw: Path | None = None
) -> None:
    """Score every sample with the world's gold rater."""
    table = read_table(samples, SAMPLES)
    gold = world_class(world)(options, raw).gold_reward(read_table(posts, POSTS), table)
    write_table(table[["post_id", "sample_index"]].assign(reward=gold), output, SCORES)


if __name__ == "__main__":
    command(gold_score)
