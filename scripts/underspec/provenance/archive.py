"""Reproducible zip files with a manifest, which has a SHA-256 of every member.

A damaged file is refused. The same members give the same bytes.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from underspec import strict_json
from underspec.errors import ArtifactError
from underspec.files import atomic
from underspec.schema import Section

FORMAT = 1
MANIFEST = "manifest.json"
CURE = "get the file again from its source"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every member, the earliest of a zip file


class Member(Section):
    sha256: str
    size: int


class Manifest(Section):
    """The members of an archive, and its provenance, which is any JSON object."""

    format: Literal[FORMAT]
    provenance: dict
    members: dict[str, Member]


def write_archive(members: dict[str, bytes], provenance: dict, path: Path) -> None:
    """Write `members` and their manifest atomically."""
    manifest = Manifest(
        format=FORMAT,
        provenance=provenance,
        members={name: _member(members[name]) for name in sorted(members)},
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
    """The members of an archive, including its manifest.

    Raises ArtifactError, naming the file and the member, if the archive is damaged, has an unknown
    format, does not match its manifest, or has a member whose name leads out of a folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            _check_names(names, path)
            manifest = _read(archive, MANIFEST, path)
            members = _manifest(manifest, path / MANIFEST).members
            for name in sorted(members.keys() ^ (set(names) - {MANIFEST})):
                fault = "missing" if name in members else "the manifest has no such member"
                raise ArtifactError(f"{path / name}: {fault}; {CURE}")
            contents = {name: _read(archive, name, path, members[name]) for name in sorted(members)}
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; correct its path") from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ArtifactError(f"{path}: not a whole zip file ({error}); {CURE}") from None
    return contents | {MANIFEST: manifest}


def to_json(value: dict) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def from_json(content: bytes, path: Path) -> dict:
    """Raises ArtifactError, naming `path`, if `content` is not a JSON object."""
    try:
        value = strict_json.parse(content)
    except ValueError as error:
        raise ArtifactError(f"{path}: not readable as JSON ({error}); {CURE}") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: not a JSON object; {CURE}")
    return value


def _member(content: bytes) -> Member:
    return Member(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def _check_names(names: list[str], path: Path) -> None:
    for name in names:
        if ".." in name.split("/") or name.startswith("/") or "\\" in name or ":" in name:
            raise ArtifactError(f"{path}: member {name!r} leads out of its folder; {CURE}")
        if not name.isprintable():
            raise ArtifactError(f"{path}: member {name!r} has no name that can be printed; {CURE}")
        if names.count(name) > 1:
            raise ArtifactError(f"{path / name}: two members have this name; {CURE}")
    if MANIFEST not in names:
        raise ArtifactError(f"{path / MANIFEST}: missing; {CURE}")


def _read(archive: zipfile.ZipFile, name: str, path: Path, expected: Member | None = None) -> bytes:
    """The content of a member, which must match `expected`, if given."""
    fault = "does not match the manifest"
    if expected and archive.getinfo(name).file_size != expected.size:
        raise ArtifactError(f"{path / name}: {fault}; {CURE}")
    try:
        content = archive.read(name)
    except Exception as error:  # zipfile raises all kinds of errors for damaged files
        raise ArtifactError(f"{path / name}: damaged ({error}); {CURE}") from None
    if expected and _member(content) != expected:
        raise ArtifactError(f"{path / name}: {fault}; {CURE}")
    return content


def _manifest(content: bytes, path: Path) -> Manifest:
    manifest = from_json(content, path)
    if manifest.get("format") != FORMAT:
        raise ArtifactError(
            f"{path}: format {manifest.get('format')!r} is unknown, this version of the repository "
            f"reads {FORMAT}; use the version that wrote the file, or a newer one"
        )
    try:
        return Manifest(**manifest)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ArtifactError(f"{path}: {key}: {first['msg']}; {CURE}") from None
