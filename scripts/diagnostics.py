from pathlib import Path

from underspec.analysis.text_features import diagnose, lists
from underspec.artifacts import DIAGNOSTICS, SAMPLES, read_posts, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.data.gold_raters import parts


def diagnostics(
    *, rater: str, line_breaks: sections.Flag = False, posts: Path, samples: Path, output: Path
) -> None:
    """Measure every sample: words, what it shares with the post, what its gold is made of and, with
    `line_breaks`, whether it is a list."""
    drawn = read_table(samples, SAMPLES)
    table = read_posts(posts, drawn.post_id, samples)
    measured = diagnose(table, drawn).assign(**parts(rater, table, drawn))
    if line_breaks:
        measured["lists"] = lists(drawn.text)
    write_table(measured, output, DIAGNOSTICS)


if __name__ == "__main__":
    command(diagnostics)
