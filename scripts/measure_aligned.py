from pathlib import Path

from underspec.analysis.text_features import diagnose, lists
from underspec.artifacts import (
    ALIGNED_DIAGNOSTICS,
    ALIGNED_SAMPLES,
    OF_BEST_OF_N,
    read_posts,
    read_table,
    write_table,
)
from underspec.command import command
from underspec.config import sections
from underspec.data.gold_raters import gold_reward, parts


def measure_aligned(
    *,
    rater: str,
    gold: sections.Flag,
    line_breaks: sections.Flag = False,
    posts: Path,
    samples: list[Path],
    diagnostics: list[Path],
) -> None:
    """Measure every sample of aligned policies: words, what it shares with the post, and what the
    gold rater, if there is one, gives it, and for what; with `line_breaks`, whether it is a list.

    diagnostics: the tables to write, in the order of the samples.
    """
    for source, path in zip(samples, diagnostics, strict=True):
        drawn = read_table(source, ALIGNED_SAMPLES)
        table = read_posts(posts, drawn.post_id, source)
        measured = diagnose(table, drawn).drop(columns=[*OF_BEST_OF_N])
        measured = measured.assign(**parts(rater, table, drawn))
        if line_breaks:
            measured["lists"] = lists(drawn.text)
        if gold:
            measured["gold"] = gold_reward(rater, table, drawn)
        write_table(measured, path, ALIGNED_DIAGNOSTICS)


if __name__ == "__main__":
    command(measure_aligned)
