"""Source distributions of Python packages, downloaded by pip from the index that it is set to.

To learn its dependencies, pip runs the setup.py of a source distribution, even of one that is only
to be downloaded. It first compares the SHA-256, so that what runs is what was read when the digest
was written down.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from underspec.errors import UserError


def download(package: str, version: str, sha256: str, folder: Path) -> Path:
    """Download the source distribution of `package` into `folder`; returns its path.

    Raises UserError if pip fails, such as without internet, or finds another file than the one with
    this digest.
    """
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{package}=={version} --hash=sha256:{sha256}\n", "utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"]
    files = ["--no-binary", package, "--requirement", requirement, "--dest", folder]
    done = subprocess.run([*pip, *files], capture_output=True, text=True, errors="replace")
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UserError(
            f"pip cannot download {package} {version} ({(errors or ['no message'])[0].strip()})"
        )
    return next(folder.glob(f"{package}-{version}.*"))


def verify(path: Path, sha256: str) -> None:
    """Raise UserError if `path` is not the file with this digest."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; correct its path in the config")
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != sha256:
        raise UserError(
            f"{path}: its SHA-256 is {found}, not {sha256}; get the file that was published"
        )
