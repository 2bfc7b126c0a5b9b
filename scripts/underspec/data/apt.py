"""Debian's archive by Debian's own tools, in a private folder and without root.

The folder of an `update` holds package lists and a configuration; the machine's own lists are
left alone, its sources and proxies are used.
"""

import logging
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from underspec.errors import UserError

APT_CONFIG = """
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
Acquire::Languages "en";
Acquire::GzipIndexes "false";
APT::Sandbox::User "root";
Dir::State::Lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"""

log = logging.getLogger(__name__)


def stanzas(folder: Path, ending: str) -> Iterator[dict[str, str]]:
    for file in sorted((folder / "lists").glob(f"*{ending}")):
        yield from parse_stanzas(file.read_text("utf-8", errors="replace"))


def update(folder: Path) -> str:
    """Bring the archive's package lists into `folder`; returns apt-get's last complaint."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()  # as if nothing were installed: any version may be downloaded
    (folder / "apt.conf").write_text(APT_CONFIG.format(folder=folder))
    complaint = _run(["apt-get", "-c", folder / "apt.conf", "update"], folder)
    if complaint:  # apt-get calls it a success when some archive could not be reached
        log.warning("apt-get update: %s", complaint)
    return complaint


def unpack(package: str, apt: Path, here: Path) -> str:
    """Download `package` and unpack its files into the folder `here`; returns its version."""
    _run(["apt-get", "-c", apt / "apt.conf", "download", package], here)
    archive = next(here.glob("*.deb"))
    _run(["dpkg-deb", "-x", archive, here / "files"], here)
    archive.unlink()
    return unquote(archive.name.split("_")[1])


def _run(command: list[str | Path], folder: Path) -> str:
    """The last line `command` wrote on stderr. Raises UserError if it is missing, or fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    except FileNotFoundError:
        raise UserError(
            f"{command[0]}: no such program; the world debian is fetched by Debian's own tools: "
            "run this job on Debian or a system that derives from it, or choose another world"
        ) from None
    complaint = done.stderr.strip().rpartition("\n")[2]
    if done.returncode:
        raise UserError(
            f"{' '.join(map(str, command))} failed ({complaint}); see that the network is up, "
            "that apt's sources are right, and that the disk is not full"
        )
    return complaint


def parse_stanzas(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a Debian control file as field -> value; continuation lines stay lines."""
    for stanza in text.split("\n\n"):
        fields = re.findall(r"^([A-Za-z][\w-]*):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        if fields:
            yield dict(fields)
