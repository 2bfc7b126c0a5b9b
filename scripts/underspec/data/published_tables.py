"""Rows of published tables, read by Hugging Face `datasets`."""

import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from underspec import parquet_files
from underspec.data.published_files import MOVED, missing_shards
from underspec.errors import ArtifactError, first_line

BATCH = 1000  # rows in memory
FETCH = "delete it and fetch it again, or name the published data set"
log = logging.getLogger(__name__)


def read_rows(folder: Path, pattern: str, columns: dict[str, str]) -> Iterator[dict]:
    """The rows of the Parquet files, or of the files of JSON lines (*.jsonl.gz), that match
    `pattern`; `columns` maps names to types, and a.b is the field b of the column a.

    Raises ArtifactError, naming the file, if a file or shard is missing or damaged, lacks a column,
    or has a column of another type.
    """
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise ArtifactError(f"{folder / pattern}: no such file; {MOVED}")
    if missing := missing_shards(paths):
        raise ArtifactError(f"{folder / pattern}: {', '.join(missing)} missing; {MOVED}")
    for path in paths:
        with TemporaryDirectory() as cache:
            table = _read(path, Path(cache))
            table = parquet_files.columns(table.flatten(), columns, path, FETCH)
            for batch in table.select(list(columns)).to_batches(max_chunksize=BATCH):
                yield from batch.to_pylist()


def usable_rows(
    what: str,
    folder: Path,
    pattern: str,
    columns: dict[str, str],
    use: Callable[[dict], tuple | str],
) -> tuple[list[tuple], dict[str, int]]:
    """What `use` makes of the rows that `read_rows` reads, and how many are dropped by reason: a
    text that `use` returns instead. The log, where the rows are called `what`, says the same."""
    kept, dropped = [], Counter()
    for row in read_rows(folder, pattern, columns):
        if isinstance(found := use(row), str):
            dropped[found] += 1
        else:
            kept.append(found)
    reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    log.info(
        "%s: %d rows kept, %d dropped (%s)", what, len(kept), dropped.total(), reasons or "none"
    )
    return kept, dict(dropped)


def _read(path: Path, cache: Path) -> pa.Table:
    """The table in a file, in the file's own types, mapped from a copy in folder `cache`.

    `datasets` would cast several files to the types of the first, or all to types of ours: numbers
    to text and back, a missing column to nulls. So it reads one file at a time, and what it reads
    is checked. In its default cache, a file may pass for an older one of the same name and time.
    """
    import datasets  # takes a second, which only the jobs that read such tables spend

    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # what it logs, it also raises
    datasets.disable_progress_bars()
    # Unlike load_dataset, these ask no server.
    kind, read = "Parquet", partial(datasets.Dataset.from_parquet, batch_size=BATCH)
    if path.name.endswith(".jsonl.gz"):
        kind, read = "compressed JSON", datasets.Dataset.from_json
    try:
        link = cache / "file"  # `datasets` would take the path for a pattern or an address
        link.symlink_to(path.absolute())
        rows = read(str(link), cache_dir=str(cache))
    except (
        *(datasets.exceptions.DatasetsError, pa.ArrowException, OSError, ValueError),
        *(EOFError, zlib.error, StopIteration),  # of a compressed file that was cut, or is empty
    ) as error:
        cause = error.__cause__ or error
        if getattr(cause, "errno", None):  # the disk is full, or the file may not be read
            raise cause from None
        raise ArtifactError(
            f"{path}: not a whole {kind} file with rows ({first_line(cause)}); {FETCH}"
        ) from error
    return rows.with_format("arrow")[:]
