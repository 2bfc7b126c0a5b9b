"""Verdicts of several experiments side by side, and what changed between two of them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from underspec.csv_files import read_csv
from underspec.errors import ArtifactError, ConfigError
from underspec.report.overview import CHOSEN, VERDICTS, directions, tally

NEEDED = ["id", "kind", "claim", "place", "ours", "scale", "verdict", "estimate", "low", "high"]
NUMBERS = ["estimate", "low", "high"]
LONG_PAPER = "the long paper"
OTHERS = "other papers"  # named by their authors and year
PLACES = ("section", "after section", "Figure", "Table")  # of the workshop paper
CHANGES = ("the same", "changed to undecided", "decided from undecided", "reversed")
IN_ONE = "in one run only"
MARKS = {"supported": "✓", "contradicted": "✗", "undecided": "?"}
ABSENT = "–"
NARROW = "\N{NO-BREAK SPACE}"
BRACKETS = f"In brackets: {CHOSEN}, not found; not compared."


def change(before: str, after: str) -> str:
    """Which of CHANGES leads from one verdict to another."""
    if before == after:
        return "the same"
    if after == "undecided":
        return "changed to undecided"
    return "decided from undecided" if before == "undecided" else "reversed"


def read_verdicts(path: Path) -> list[dict]:
    """The directions in a claims.csv, also one of an earlier version: NEEDED, chosen_by_recipe
    (False where there is no such column), and what `about` says of each. A number that is not there
    is NaN.

    Raises ArtifactError, naming the file, if it is no such table.
    """
    table = read_csv(path)
    if "chosen_by_recipe" not in table:
        table["chosen_by_recipe"] = False
    try:
        return _checked(table)
    except ValueError as error:
        raise ArtifactError(
            f"{path}: not a table of claims ({error}); give the claims.csv of an experiment"
        ) from None


def _checked(table: pd.DataFrame) -> list[dict]:
    """The directions. Raises ValueError that says what is wrong."""
    if missing := [name for name in NEEDED if name not in table]:
        raise ValueError(f"no column {missing[0]}")
    for name in ("ours", "chosen_by_recipe"):
        if not table[name].isin([True, False]).all():
            raise ValueError(f"{name} is neither True nor False")
    rows = table[table.kind == "direction"][[*NEEDED, "chosen_by_recipe"]]
    if not directions(rows.to_dict("records")):
        raise ValueError("no claim of the papers")
    if unknown := set(rows["verdict"]) - set(VERDICTS):
        raise ValueError(f"no such verdict: {min(unknown)!r}")
    if (twice := rows.duplicated(["id", "scale"])).any():
        raise ValueError(f"{rows[twice].iloc[0]['id']!r} is there twice")
    numbers = rows[NUMBERS].apply(pd.to_numeric)
    return [row | about(row) for row in rows.assign(**numbers).to_dict("records")]


def about(claim: Mapping) -> dict[str, str]:
    """The paper and section that a claim is from, and its alignment, by its place and id."""
    place = claim["place"]
    first, _, rest = place.partition(", ")
    alignment = "RLHF" if claim["id"].startswith("RLHF, ") else "best-of-n or none"
    if first == LONG_PAPER:
        return {"paper": LONG_PAPER, "section": rest or "all", "alignment": alignment}
    paper = "the workshop paper" if first.startswith(PLACES) else OTHERS
    return {"paper": paper, "section": first, "alignment": alignment}


def task_of(claims: Path) -> str:
    """World and kind of reward of the experiment that a claims.csv is of, from the manifest beside
    it; "unknown" if there is none."""
    try:
        config = json.loads((claims.parent / "manifest.json").read_text("utf-8"))["config"]
        return f"{config['world']}, {config.get('reward', 'preference')}"
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def run_names(paths: list[Path]) -> list[str]:
    """A name for each claims.csv: its folder's, or its path if the folders have equal names.

    Raises ConfigError if there are fewer than two, or one is there twice.
    """
    if len(set(paths)) < max(2, len(paths)):
        raise ConfigError(
            f"{len(set(paths))} different tables of claims; give at least two, each once"
        )
    folders = [path.absolute().parent.name for path in paths]
    return folders if len(set(folders)) == len(folders) else [str(path) for path in paths]


def every_row(runs: Mapping[str, list[dict]], tasks: Mapping[str, str]) -> pd.DataFrame:
    """The directions of all runs below each other, with the run and its task."""
    return pd.DataFrame(
        {"experiment": name, "task": tasks[name]} | row
        for name, rows in runs.items()
        for row in rows
    ).drop(columns="kind")


def by_claim(runs: Mapping[str, list[dict]]) -> list[dict]:
    """What the page shows: for each claim its `claim`, `place`, `ours` and what `about` says, and
    under `scales` for each scale what each run has of it (None if it has no such claim)."""
    claims: dict[str, dict] = {}
    for (identity, scale), rows in _by_claim(runs):
        row = next(row for row in rows.values() if row)
        shown = {
            key: row[key] for key in ("claim", "place", "ours", "paper", "section", "alignment")
        }
        claims.setdefault(identity, shown | {"scales": {}})["scales"][scale] = rows
    return list(claims.values())


def _by_claim(
    runs: Mapping[str, list[dict]],
) -> Iterator[tuple[tuple[str, str], dict[str, dict | None]]]:
    """Each (id, scale), as the run with most has them, with each run's row of it, or None."""
    found = {name: {(row["id"], row["scale"]): row for row in rows} for name, rows in runs.items()}
    longest_first = sorted(found.values(), key=len, reverse=True)
    for key in dict.fromkeys(key for rows in longest_first for key in rows):
        yield key, {name: rows.get(key) for name, rows in found.items()}


def markdown(runs: Mapping[str, list[dict]]) -> str:
    """The papers' directions as a Markdown table: a row for each claim, a column for each run, and
    in a cell a mark for each scale. Below it, the counts of each run, and what changed between two.

    runs: what `read_verdicts` has of each, by its name.
    """
    claims = by_claim({name: directions(rows) for name, rows in runs.items()})
    header = ["claim", "scales", *runs]
    rows = [header, ["---"] * len(header), *(_row(claim, runs) for claim in claims)]
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    marks = ", ".join(f"{mark} {verdict}" for verdict, mark in MARKS.items())
    lines += ["", f"One mark for each scale: {marks}, {ABSENT} no such claim there.", BRACKETS, ""]
    lines += [f"- {name}: {_counts(tally(rows))}" for name, rows in runs.items()]
    return "\n".join([*lines, *(_changes(claims, *runs) if len(runs) == 2 else []), ""])


def _row(claim: dict, runs: Iterable[str]) -> list[str]:
    scales = claim["scales"]
    cells = (_marks([rows[name] for rows in scales.values()]) for name in runs)
    return [claim["claim"], ", ".join(scales), *cells]


def _marks(rows: list[dict | None]) -> str:
    """Of one claim in one run, at each scale; a recipe chooses a claim at all scales."""
    if not any(rows):
        return ""
    marks = NARROW.join(MARKS[row["verdict"]] if row else ABSENT for row in rows)
    return f"({marks})" if any(row and row["chosen_by_recipe"] for row in rows) else marks


def _changes(claims: list[dict], before: str, after: str) -> list[str]:
    """How many directions changed from one run to the other and how, and which."""
    found = [
        (_change(rows[before], rows[after]), f"{claim['claim']}{scale and f', {scale}'}")
        for claim in claims
        for scale, rows in claim["scales"].items()
    ]
    counted = Counter(kind for kind, _ in found)
    counts = {kind: counted[kind] for kind in (*CHANGES, CHOSEN, IN_ONE)}
    named = [f"  - {kind}: {what}" for kind, what in found if kind in CHANGES[1:]]
    return [f"- from {before} to {after}: {_counts(counts)}", *named]


def _change(before: dict | None, after: dict | None) -> str:
    """One of CHANGES, CHOSEN if the recipe of either run chose it, or IN_ONE."""
    if not (before and after):
        return IN_ONE
    if before["chosen_by_recipe"] or after["chosen_by_recipe"]:
        return CHOSEN
    return change(before["verdict"], after["verdict"])


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in numbers.items())
