"""Files and folders written atomically; arrays of token ids and lines of text.

Token arrays are .npy files, which need not fit into memory. Training imports this module, and
starts faster without pandas.
"""

import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from underspec.errors import ArtifactError, first_line

MAKE = "let Snakemake make it first"
REMAKE = "delete it and run Snakemake again"
STALE_SECONDS = 3600.0  # an unfinished file of this age was left by a killed process


def unfinished_name(path: Path) -> Path:
    """A unique temporary name for `path` while it is being written."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}.unfinished")


def stale(folder: Path, name: str = "*") -> Iterator[Path]:
    """The unfinished files and folders of `name` in `folder` that killed processes have left."""
    for path in folder.glob(f"{name}.*.unfinished"):
        with suppress(FileNotFoundError):  # another process has just finished it
            if path.stat().st_mtime < time.time() - STALE_SECONDS:
                yield path


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary name for a file or folder, which is renamed to `path` at the end.

    If writing fails, nothing is left. A second copy of the same job uses another name; if it was
    the first to rename a folder, its folder stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in stale(path.parent, path.name):
        _delete(left_over)
    unfinished = unfinished_name(path)
    try:
        yield unfinished
        try:
            os.replace(unfinished, path)
        except OSError:
            if not (unfinished.is_dir() and path.is_dir()):
                raise
    finally:
        _delete(unfinished)


def _delete(path: Path) -> None:
    """Delete a file or folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_flat_array(pieces: Iterable[np.ndarray], path: Path, kind: np.dtype) -> None:
    """Write the concatenated `pieces` as one .npy array (total,) of type `kind`, atomically."""
    total = 0
    with atomic(path) as unfinished, unfinished.open("wb") as file:
        _npy_header(file, kind, total)
        for piece in pieces:
            piece.astype(kind, copy=False).tofile(file)
            total += len(piece)
        file.seek(0)
        _npy_header(file, kind, total)  # NumPy pads headers, so the length is the same


def _npy_header(file, kind: np.dtype, total: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, {**header, "shape": (total,)})


def read_tokens(path: Path) -> np.ndarray:
    """An array of token ids written by `write_flat_array`, memory-mapped.

    Raises ArtifactError, naming the file, if it is missing, damaged, or something else.
    """
    try:
        tokens = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {MAKE}") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:  # a header is Python's syntax
        cause = first_line(error)
        raise ArtifactError(f"{path}: not a whole .npy file ({cause}); {REMAKE}") from error
    kind = getattr(tokens, "dtype", None)
    if kind not in (np.uint16, np.uint32) or tokens.ndim != 1 or not len(tokens):
        raise ArtifactError(f"{path}: not a flat array of token ids; {REMAKE}")
    return tokens


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, without line ends.

    Raises ArtifactError, naming the file, if it is missing or not UTF-8.
    """
    number = 0
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):  # noqa: B007
                yield line.rstrip("\n")
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {MAKE}") from None
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{path}: after line {number} is text that is not UTF-8 ({error.reason}); {REMAKE}"
        ) from None
