from pathlib import Path

from underspec.artifacts import POSTS, SAMPLES, read_table
from underspec.checksums import checksums
from underspec.command import command
from underspec.config import sections
from underspec.files import read_tokens
from underspec.report.data_card import (
    LABELLED,
    QUANTILES,
    card,
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
    labelled: Path,
    reward: sections.RewardKind,
    samples: dict[str, Path],
    experiment: str,
    template: Path,
    output: Path,
    tokens: list[Path] | None = None,
    left_out_text: list[Path] | None = None,
) -> None:
    """Write what the data are, in numbers and examples.

    labelled: the comparisons or judgements that reward models learn from, by the kind of reward;
    worlds: those in use, each once; samples: the table of each split; tokens: the shards of the
    pretraining text, if there is one; left_out_text: what was left out of each shard.
    """
    shards = tokens or []
    kind = LABELLED[reward]
    post_table, labels = read_table(posts, POSTS), read_table(labelled, kind.schema)
    tables = {split: read_table(Path(path), SAMPLES) for split, path in samples.items()}
    files = [posts, labelled, *samples.values(), *shards]
    write_page(
        template,
        output,
        cards={world: card(world) for world in worlds},
        quantiles=QUANTILES,
        lengths=described(post_table, labels, tables),
        tokens=sum(len(read_tokens(path)) for path in shards),
        labelled={"name": kind.name, "counts": kind.counts(labels)},
        left_out={
            "posts": left_out(post_table),
            "labelled": left_out(labels),
            "text": read_left_out(left_out_text or []),
        },
        examples=examples(post_table, labels, kind.texts),
        files=checksums(map(str, files)),
        face=experiment,
    )


if __name__ == "__main__":
    command(data_card)
