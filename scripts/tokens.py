import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tokenizers

from underspec.command import command
from underspec.data.tokenization import load_tokenizer, token_ids
from underspec.errors import ArtifactError
from underspec.files import REMAKE, read_lines, write_flat_array

log = logging.getLogger("underspec.tokens")

LINES_AT_ONCE = 2_000  # of C4: some 130 MB; 20,000 took 1.3 GB and no less time
LOG_SECONDS = 10


def tokens(*, text: Path, tokenizer: Path, output: Path) -> None:
    """Encode the pretraining text as one flat array of token ids, eos after each document."""
    trained = load_tokenizer(tokenizer)
    kind = np.dtype(np.uint16 if trained.get_vocab_size() <= 2**16 else np.uint32)
    write_flat_array(encoded(text, trained), output, kind)


def encoded(text: Path, trained: tokenizers.Tokenizer) -> Iterator[np.ndarray]:
    """Token ids of the lines of `text`, some lines at a time."""
    documents, found, logged = 0, 0, time.monotonic()
    lines = read_lines(text)
    while batch := list(itertools.islice(lines, LINES_AT_ONCE)):
        ids = np.concatenate(token_ids(trained, batch))
        documents, found = documents + len(batch), found + len(ids)
        if time.monotonic() - logged > LOG_SECONDS:
            logged = time.monotonic()
            log.info("%d documents, %d tokens so far", documents, found)
        yield ids
    if not documents:
        raise ArtifactError(f"{text}: empty; {REMAKE}")
    log.info("%d documents, %d tokens", documents, found)


if __name__ == "__main__":
    command(tokens)
