from pathlib import Path

from underspec.artifacts import POSTS, PREFERENCES, SAMPLES, read_table
from underspec.checksums import checksums
from underspec.command import command
from underspec.files import read_tokens
from underspec.report.data_card import (
    QUANTILES,
    card,
    compared,
    described,
    examples,
    left_out,
    read_left_out,
)
from underspec.report.pages import write_page


def data_card(
    *,
    worlds: list[str],
    posts: Path,
    preferences: Path,
    samples: dict[str, Path],
    experiment: str,
    template: Path,
    output: Path,
    tokens: list[Path] | None = None,
    left_out_text: list[Path] | None = None,
) -> None:
    """Write what the data are, in numbers and examples.

    worlds: those in use, each once; samples: the table of each split; tokens: the shards of the
    pretraining text, if there is one; left_out_text: what was left out of each shard.
    """
    shards = tokens or []
    post_table, compared_texts = read_table(posts, POSTS), read_table(preferences, PREFERENCES)
    tables = {split: read_table(Path(path), SAMPLES) for split, path in samples.items()}
    files = [posts, preferences, *samples.values(), *shards]
    write_page(
        template,
        output,
        cards={world: card(world) for world in worlds},
        quantiles=QUANTILES,
        lengths=described(post_table, tables),
        tokens=sum(len(read_tokens(path)) for path in shards),
        preferences=compared(compared_texts),
        left_out={
            "posts": left_out(post_table),
            "comparisons": left_out(compared_texts),
            "text": read_left_out(left_out_text or []),
        },
        examples=examples(post_table, compared_texts),
        files=checksums(map(str, files)),
        face=experiment,
    )


if __name__ == "__main__":
    command(data_card)
