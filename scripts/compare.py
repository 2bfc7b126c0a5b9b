import sys
from pathlib import Path

from underspec.command import command
from underspec.csv_files import write_csv
from underspec.errors import ConfigError
from underspec.files import atomic
from underspec.report.comparison import markdown, read_verdicts, run_names, side_by_side


def compare(*, claims: list[Path], output: Path | None = None) -> None:
    """Print the verdicts of several experiments side by side, or write them to a file.

    claims: their claims.csv, two or more; output: a file that ends in .md (Markdown, with counts)
    or .csv (the table alone).
    """
    if output and output.suffix not in (".md", ".csv"):
        raise ConfigError(f"--output: {output} ends neither in .md nor in .csv")
    names = run_names(claims)
    runs = {name: read_verdicts(path) for name, path in zip(names, claims, strict=True)}
    table = side_by_side(runs)
    if not output:
        sys.stdout.write(markdown(table, runs))
    elif output.suffix == ".csv":
        write_csv(table, output)
    else:
        with atomic(output) as unfinished:
            unfinished.write_text(markdown(table, runs), encoding="utf-8")


if __name__ == "__main__":
    command(compare)
