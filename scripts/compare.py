import os
import sys
from pathlib import Path

from underspec.command import command
from underspec.csv_files import write_csv
from underspec.errors import ConfigError
from underspec.files import atomic
from underspec.report import comparison
from underspec.report.overview import tally
from underspec.report.pages import write_page

TEMPLATE = Path(__file__).parents[1] / "reports" / "pages" / "comparison.html"


def compare(
    *, claims: list[Path], output: Path | None = None, reports: Path = Path("reports")
) -> None:
    """Put the verdicts of several experiments side by side: print them, or write them to a file.

    claims: their claims.csv, two or more; output: a file that ends in .html (a page with all claims
    and their intervals), .csv (the same as a table, a row for each claim, scale and experiment) or
    .md (verdicts on the papers' claims alone, with counts, as they are printed); reports: the
    folder that may hold the experiments' reports, to which the page has links.
    """
    writers = {".md": _write_markdown, ".csv": _write_table, ".html": _write_page}
    if output and output.suffix not in writers:
        raise ConfigError(f"--output: {output} ends in none of {', '.join(writers)}")
    names = comparison.run_names(claims)
    paths = dict(zip(names, claims, strict=True))
    runs = {name: comparison.read_verdicts(path) for name, path in paths.items()}
    if output:
        tasks = {name: comparison.task_of(path) for name, path in paths.items()}
        writers[output.suffix](runs, tasks, reports, output)
    else:
        sys.stdout.write(comparison.markdown(runs))


def _write_markdown(runs: dict, tasks: dict, reports: Path, output: Path) -> None:
    with atomic(output) as unfinished:
        text = comparison.markdown(runs)
        unfinished.write_text(text, encoding="utf-8")


def _write_table(runs: dict, tasks: dict, reports: Path, output: Path) -> None:
    write_csv(comparison.every_row(runs, tasks), output)


def _write_page(runs: dict, tasks: dict, reports: Path, output: Path) -> None:
    found = {name: reports / f"{name}.html" for name in runs}
    links = {name: _link(path, output) for name, path in found.items() if path.exists()}
    write_page(
        TEMPLATE,
        output,
        claims=comparison.by_claim(runs),
        tallies={name: tally(rows) for name, rows in runs.items()},
        tasks=tasks,
        links=links,
        face=", ".join(runs),
    )


def _link(path: Path, page: Path) -> str:
    return Path(os.path.relpath(path, page.parent)).as_posix()


if __name__ == "__main__":
    command(compare)
