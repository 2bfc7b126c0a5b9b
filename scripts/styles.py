from pathlib import Path

from underspec.artifacts import POSTS, STYLES, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.data.gold_raters import gold_reward
from underspec.data.styles import styled_texts


def styles(*, world: str, rater: str, posts: Path, number: sections.Count, output: Path) -> None:
    """Write texts that are right or wrong about a post in three styles, with their gold reward."""
    table = read_table(posts, POSTS)
    texts = styled_texts(world, table, number)
    write_table(texts.assign(gold=gold_reward(rater, table, texts)), output, STYLES)


if __name__ == "__main__":
    command(styles)
