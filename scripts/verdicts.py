from pathlib import Path

from underspec.command import command
from underspec.report.overview import read_claims
from underspec.report.shipped_verdicts import write_verdicts


def verdicts(*, claims: Path, bundle: Path) -> None:
    """Write the verdicts on the paper's claims beside the bundle that they come from."""
    write_verdicts(read_claims(claims), bundle)


if __name__ == "__main__":
    command(verdicts)
