"""C4 (Raffel et al., 2020; ODC-BY), the paper's pretraining text: pages of the web, in English."""

import gzip
import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from underspec.downloads import Source, link
from underspec.errors import ArtifactError
from underspec.schema import integer
from underspec.texts import visible
from underspec.worlds import BaseWorld, Options

TRAIN_FILES = 1024
log = logging.getLogger(__name__)


class C4Options(Options):
    source: Source
    files: integer(gt=0, le=TRAIN_FILES)  # so many of the train files, the first ones
    most_shards: ClassVar[str] = "files"


class World(BaseWorld):
    """C4 (Raffel et al., 2020), English: pages of the web, cleaned by rules. Pretraining text
    alone, from the Hub or a local folder.

    Licence: ODC-BY; the pages themselves are bound by the terms of Common Crawl.
    """

    Options = C4Options
    downloads = True
    fetch_options = ("source", "files")
    has_posts = False

    @classmethod
    def fetch(cls, raw: Path, source: dict, files: int) -> None:
        """Link the folder with the files as raw/source. Raises UserError if one is missing."""
        link(Source(**source), train_files(files), raw / "source")

    def pretraining_tokens(self) -> int:
        """Of T5's vocabulary, by the 156 billion published for all files."""
        return self.options.files * 156_000_000_000 // TRAIN_FILES

    def pretraining_text(self) -> Iterator[str]:
        return self.pretraining_shard(0, 1)

    def pretraining_shard(self, shard: int, shards: int) -> Iterator[str]:
        for name in train_files(self.options.files)[shard::shards]:
            yield from documents(self.raw / "source" / name)


def train_files(count: int) -> list[str]:
    return [f"en/c4-train.{i:05d}-of-{TRAIN_FILES:05d}.json.gz" for i in range(count)]


def documents(path: Path) -> Iterator[str]:
    """The texts of a file of C4, one line each: SentencePiece reads a newline as a space.

    Texts in which there is nothing to see are left out, and counted on the log. Raises
    ArtifactError, naming the file, if it is missing or damaged, or a row has no text.
    """
    number, empty = 0, 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):  # noqa: B007
                if visible(text := " ".join(json.loads(line)["text"].split())):
                    yield text
                else:
                    empty += 1
    except FileNotFoundError:
        raise ArtifactError(
            f"{path}: no such file; was it moved since it was fetched? Delete the folder of the "
            "raw files and run Snakemake again"
        ) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path}: not a whole gzip file ({error}); delete it and fetch it again"
        ) from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise ArtifactError(
            f'{path}: line {number} is no JSON object with a "text"; is this a file of C4?'
        ) from None
    log.info("%s: %d documents, %d more were empty", path.name, number - empty, empty)
