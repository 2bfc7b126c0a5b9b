"""The verdicts that are shipped beside a bundle, and a run of the same config against them.

A bundle holds the reward matrix and no verdicts, and drawing them from it takes a minute. So they
stand beside it in a small table, which has the SHA-256 of its bundle: with another it is not read.
"""

import hashlib
from pathlib import Path

import pandas as pd

from underspec.config.layers import NOT_BUNDLED, read_config
from underspec.config.validation import validate
from underspec.csv_files import read_csv, write_csv
from underspec.errors import ArtifactError, UserError
from underspec.report.comparison import change
from underspec.report.overview import directions

COLUMNS = ["id", "scale", "verdict", "sha256"]
NOT_COMPARED = (*NOT_BUNDLED, "bundle", "extends", "styles")  # styles have claims of their own


def beside(bundle: Path) -> Path:
    """Where the verdicts of a bundle stand."""
    return bundle.with_name(f"{bundle.stem}-verdicts.csv")


def write_verdicts(claims: list[dict], bundle: Path) -> Path:
    """Write the verdicts on the paper's claims beside the bundle they were drawn from."""
    table = pd.DataFrame(directions(claims)).assign(sha256=_sha256(bundle))
    write_csv(table[COLUMNS], beside(bundle))
    return beside(bundle)


def shipped_verdicts(root: Path, config: dict) -> Path | None:
    """The verdicts of a bundle of the same experiment and config, if one is at hand in `root`.

    None while drawing from a bundle, if bundle or verdicts are missing or damaged, do not go with
    each other, or come from another config.
    """
    bundle = root / "bundles" / f"{config['experiment']}.zip"
    if config["bundle"] or not (bundle.is_file() and beside(bundle).is_file()):
        return None
    try:
        if set(read_csv(beside(bundle))["sha256"]) != {_sha256(bundle)}:
            return None
        bundled = validate(read_config(root, given={"bundle": str(bundle)}))
    except (UserError, OSError, ValueError, KeyError):
        return None
    return beside(bundle) if _compared(bundled) == _compared(config) else None


def against(claims: list[dict], verdicts: Path) -> dict:
    """How the verdicts on `claims` differ from shipped ones; claims that only one has do not count.

    total, same, undecided (changed to or from it), reversed: numbers; changed: claim, place, scale,
    shipped and here of each that differs, the reversed ones first. Raises ArtifactError, naming
    the file, if `verdicts` is no such table.
    """
    try:
        table = read_csv(verdicts)[COLUMNS]
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{verdicts}: not a table of verdicts ({error}); delete it") from None
    shipped = {(row.id, row.scale): row.verdict for row in table.itertuples()}
    both = [
        {"claim": claim["claim"], "place": claim["place"], "scale": claim["scale"]}
        | {"shipped": shipped[key], "here": claim["verdict"]}
        for claim in directions(claims)
        if (key := (claim["id"], claim["scale"] or "")) in shipped
    ]
    changes = [(change(row["shipped"], row["here"]), row) for row in both]
    reversed_ = [row for kind, row in changes if kind == "reversed"]
    undecided = [row for kind, row in changes if "undecided" in kind]
    return {
        "total": len(both),
        "same": len(both) - len(reversed_) - len(undecided),
        "undecided": len(undecided),
        "reversed": len(reversed_),
        "changed": reversed_ + undecided,
    }


def _compared(config: dict) -> dict:
    return {key: value for key, value in config.items() if key not in NOT_COMPARED}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
