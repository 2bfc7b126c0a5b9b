"""Published files, from the Hugging Face Hub or from a local folder with the same files."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import huggingface_hub
from huggingface_hub import errors

from underspec.errors import UserError, first_line
from underspec.schema import Source

log = logging.getLogger(__name__)

MOVED = (
    "was it moved since it was fetched? Delete the folder of the raw files and run Snakemake again"
)
SHARD = re.compile(r"(.*-)(\d+)-of-(\d+)\D.*")


def download(source: Source, patterns: list[str], kind: Literal["dataset", "model"]) -> Path:
    """The folder with the files of `source` that match `patterns`, downloaded if necessary.

    Downloads are in the Hub's own cache, where `datasets` has them, too: experiments share them,
    and an interrupted download goes on with the files that are missing. Raises UserError if the
    Hub, the repository, its revision, the folder, a file, or a shard that matches a pattern with a
    * is missing.
    """
    folder = Path(source.name).expanduser().absolute()
    if not source.is_folder:
        folder = _download(source, patterns, kind)
    elif not folder.is_dir():
        raise UserError(f"{source.name}: no such folder; correct its path in the config")
    for pattern in patterns:
        files = [path for path in folder.glob(pattern) if path.is_file()]  # no dead link
        if not files:
            raise UserError(
                f"{source.name}: no file {pattern} there; it must have the files of the published "
                f"{kind} under their own names"
            )
        if "*" in pattern and (missing := missing_shards(files)):
            raise UserError(
                f"{source.name}: only a part of {pattern} is there: {', '.join(missing)} missing; "
                f"get the remaining files of the published {kind} (from the Hub, with internet)"
            )
    return folder


def missing_shards(files: Iterable[Path]) -> list[str]:
    """The names of missing shards, without suffix, if the names of `files` give the total number as
    in data-00000-of-00003.parquet. Shards are numbered from 0 or 1.
    """
    numbers = defaultdict(set)
    for file in files:
        if match := SHARD.fullmatch(file.name):
            name, number, total = match.groups()
            numbers[name, total].add(int(number))
    return [
        f"{name}{number:0{len(total)}}-of-{total}"
        for (name, total), found in sorted(numbers.items())
        for number in range(int(total) in found, int(total) + (int(total) in found))
        if number not in found
    ]


def link(source: Source, patterns: list[str], path: Path) -> None:
    """Download files of a data set (see `download`) and make `path` a link to their folder."""
    folder = download(source, patterns, "dataset").absolute()  # HF_HOME may be relative
    path.unlink(missing_ok=True)
    path.symlink_to(folder)
    log.info("%s: %s", source.name, folder)


def _download(source: Source, patterns: list[str], kind: str) -> Path:
    name, revision = source.name, source.revision
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name, repo_type=kind, revision=revision, allow_patterns=patterns
            )
        )
    except errors.RevisionNotFoundError:
        raise UserError(
            f"{name}: the Hub has no revision {revision}; name another in the config"
        ) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise UserError(
            f"{name}: the Hub has no such {kind}, or requires a login; correct the name in the "
            "config (a local folder begins with /, ~ or a dot)"
        ) from None
    except (errors.HTTPError, errors.XetDownloadError, OSError) as error:
        raise UserError(
            f"{name}: cannot be downloaded from the Hub ({first_line(error)}); run this job where "
            "there is internet, or name a local folder that has the files"
        ) from None
