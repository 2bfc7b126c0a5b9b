from pathlib import Path

from underspec.artifacts import SAMPLES, SCORES, read_posts, read_table, write_table
from underspec.command import command
from underspec.data.gold_raters import gold_reward


def gold_score(*, rater: str, posts: Path, samples: Path, output: Path) -> None:
    """Score every sample with a gold rater."""
    table = read_table(samples, SAMPLES)
    gold = gold_reward(rater, read_posts(posts, table.post_id, samples), table)
    write_table(table[["post_id", "sample_index"]].assign(reward=gold), output, SCORES)


if __name__ == "__main__":
    command(gold_score)
