"""Downloads from Debian's archive by apt, in a private folder and without root.

`update` fills a folder with package lists and a configuration. It uses the machine's sources and
proxies, but does not touch its package lists.
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
    """Download the archive's package lists into `folder`; returns apt-get's last error message."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()  # nothing is installed, so any version can be downloaded
    (folder / "apt.conf").write_text(APT_CONFIG.format(folder=folder))
    complaint = _run(["apt-get", "-c", folder / "apt.conf", "update"], folder)
    if complaint:  # apt-get exits with 0 even if some archives cannot be reached
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
    """Run `command`; returns its last line on stderr. Raises UserError if it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    except FileNotFoundError:
        raise UserError(
            f"{command[0]}: no such program; the world debian is downloaded with Debian's tools: "
            "run this job on Debian or a derived system, or choose another world"
        ) from None
    complaint = done.stderr.strip().rpartition("\n")[2]
    if done.returncode:
        raise UserError(
            f"{' '.join(map(str, command))} failed ({complaint}); check the network, apt's sources "
            "and the free disk space"
        )
    return complaint


def parse_stanzas(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a Debian control file as field -> value, with continuation lines."""
    for stanza in text.split("\n\n"):
        fields = re.findall(r"^([A-Za-z][\w-]*):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        if fields:
            yield dict(fields)
