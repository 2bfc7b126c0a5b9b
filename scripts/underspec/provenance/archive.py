"""A zip file that is only read if it is whole: its manifest has a SHA-256 of every member.

The same members give the same bytes.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from underspec import strict_json
from underspec.artifacts import atomic
from underspec.errors import ArtifactError

FORMAT = 1
MANIFEST = "manifest.json"
CURE = "get the file anew from where it came"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every member: a zip file knows no earlier one


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Member(Record):
    sha256: str
    size: int


class Manifest(Record):
    """What an archive holds, and where it comes from: any JSON object."""

    format: Literal[FORMAT]
    provenance: dict
    members: dict[str, Member]


def write_archive(members: dict[str, bytes], provenance: dict, path: Path) -> None:
    """Write `members` and their manifest; the file appears under its name only when it is whole."""
    manifest = Manifest(
        format=FORMAT,
        provenance=provenance,
        members={name: _described(members[name]) for name in sorted(members)},
    )
    contents = members | {MANIFEST: to_json(manifest.model_dump())}
    with atomic(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        for name in sorted(contents):
            member = zipfile.ZipInfo(name, EPOCH)
            member.create_system, member.external_attr = 3, 0o644 << 16
            compressed = name.endswith(".parquet")
            member.compress_type = zipfile.ZIP_STORED if compressed else zipfile.ZIP_DEFLATED
            archive.writestr(member, contents[name], compresslevel=9)


def read_archive(path: Path) -> dict[str, bytes]:
    """The members of an archive, its manifest included.

    Raises ArtifactError, naming the file and the member, if it is damaged, of an unknown format,
    or holds another member than its manifest says, or one whose name leads out of a folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            _check_names(names, path)
            manifest = _read(archive, MANIFEST, path)
            described = _manifest(manifest, path / MANIFEST).members
            for name in sorted(described.keys() ^ (set(names) - {MANIFEST})):
                fault = "missing" if name in described else "the manifest has no such member"
                raise ArtifactError(f"{path / name}: {fault}; {CURE}")
            contents = {
                name: _read(archive, name, path, described[name]) for name in sorted(described)
            }
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; correct its path") from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ArtifactError(f"{path}: not a whole zip file ({error}); {CURE}") from None
    return contents | {MANIFEST: manifest}


def to_json(value: dict) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def from_json(content: bytes, path: Path) -> dict:
    """Raises ArtifactError, naming `path`, if `content` is no JSON object."""
    try:
        value = strict_json.parse(content)
    except ValueError as error:
        raise ArtifactError(f"{path}: not readable as JSON ({error}); {CURE}") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: not a JSON object; {CURE}")
    return value


def _described(content: bytes) -> Member:
    return Member(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def _check_names(names: list[str], path: Path) -> None:
    for name in names:
        if ".." in name.split("/") or name.startswith("/") or "\\" in name or ":" in name:
            raise ArtifactError(f"{path}: member {name!r} leads out of its folder; {CURE}")
        if names.count(name) > 1:
            raise ArtifactError(f"{path / name}: two members have this name; {CURE}")
    if MANIFEST not in names:
        raise ArtifactError(f"{path / MANIFEST}: missing; {CURE}")


def _read(
    archive: zipfile.ZipFile, name: str, path: Path, described: Member | None = None
) -> bytes:
    """A member; if it has been described, the one that was."""
    fault = "not what the manifest says it is"
    if described and archive.getinfo(name).file_size != described.size:
        raise ArtifactError(f"{path / name}: {fault}; {CURE}")
    try:
        content = archive.read(name)
    except Exception as error:  # damage leads zipfile, and what it calls, to errors of every kind
        raise ArtifactError(f"{path / name}: damaged ({error}); {CURE}") from None
    if described and _described(content) != described:
        raise ArtifactError(f"{path / name}: {fault}; {CURE}")
    return content


def _manifest(content: bytes, path: Path) -> Manifest:
    manifest = from_json(content, path)
    if manifest.get("format") != FORMAT:
        raise ArtifactError(
            f"{path}: format {manifest.get('format')!r} is unknown, this version of the repository "
            f"reads {FORMAT}; take the version that wrote the file, or a newer one"
        )
    try:
        return Manifest(**manifest)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ArtifactError(f"{path}: {key}: {first['msg']}; {CURE}") from None
