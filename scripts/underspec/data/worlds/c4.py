"""C4 (Raffel et al., 2020; ODC-BY), the paper's pretraining text: English web pages."""

import gzip
import json
import logging
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from underspec.data.published_files import MOVED, link
from underspec.data.texts import visible, whole
from underspec.data.worlds import BaseWorld, Options
from underspec.errors import ArtifactError
from underspec.schema import Source, integer

TRAIN_FILES = 1024
EMPTY = "documents without visible text"
REPAIRED = "documents in which lone surrogates were replaced"
log = logging.getLogger(__name__)


class C4Options(Options):
    source: Source
    files: integer(gt=0, le=TRAIN_FILES)  # how many of the train files, from the first
    most_shards: ClassVar[str] = "files"


class World(BaseWorld):
    """C4 (Raffel et al., 2020), English: web pages, cleaned by rules. It has pretraining text only,
    from the Hub or a local folder.

    Licence: ODC-BY; the pages are also subject to the terms of Common Crawl.
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
        """An estimate for T5's vocabulary, from the 156 billion tokens published for all files."""
        return self.options.files * 156_000_000_000 // TRAIN_FILES

    def pretraining_text(self) -> Iterator[str]:
        return self.pretraining_shard(0, 1)

    def pretraining_shard(self, shard: int, shards: int) -> Iterator[str]:
        for name in train_files(self.options.files)[shard::shards]:
            yield from documents(self.raw / "source" / name, self.left_out)


def train_files(count: int) -> list[str]:
    return [f"en/c4-train.{i:05d}-of-{TRAIN_FILES:05d}.json.gz" for i in range(count)]


def documents(path: Path, left_out: Counter) -> Iterator[str]:
    """The texts of a C4 file, one line each. (SentencePiece treats a newline as a space.)

    `datasets` would guess the type of a column from its content: the text "2019-04-25" would become
    "2019-04-25 00:00:00", and the number 5 a text. It would skip blank lines, and refuse a whole
    file for one lone surrogate. It is no faster, and takes four times the memory.

    Texts without visible characters are left out, and lone surrogates are replaced; `left_out`
    counts both. Raises ArtifactError, naming the file, if it is missing, damaged or empty, or if a
    row has no text.
    """
    number, empty, repaired = 0, 0, 0
    try:
        with gzip.open(path) as lines:
            for number, line in enumerate(lines, start=1):  # noqa: B007
                found = " ".join(json.loads(line)["text"].split())
                text = whole(found)
                repaired += text != found
                if visible(text):
                    yield text
                else:
                    empty += 1
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {MOVED}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ArtifactError(
            f"{path}: not a whole gzip file ({error}); delete it and fetch it again"
        ) from None
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{path}: line {number} is not UTF-8 ({error.reason}); delete it and fetch it again"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ArtifactError(
            f'{path}: line {number} is not a JSON object with a "text"; is this a file of C4?'
        ) from None
    if not number:
        raise ArtifactError(f"{path}: has no lines; delete it and fetch it again")
    log.info(
        "%s: %d documents; left out %d empty ones; replaced lone surrogates in %d",
        *(path.name, number - empty, empty, repaired),
    )
    left_out.update({EMPTY: empty, REPAIRED: repaired})
