import logging
from pathlib import Path

import numpy as np

from underspec.command import command
from underspec.tokens import load_tokenizer

log = logging.getLogger("underspec.tokens")

LINES_AT_ONCE = 20_000


def tokens(*, text: Path, tokenizer: Path, output: Path) -> None:
    """Encode the pretraining text as one flat array of token ids, eos after each document."""
    trained = load_tokenizer(tokenizer)
    kind = np.uint16 if trained.get_vocab_size() <= 2**16 else np.uint32
    lines = text.read_text(encoding="utf-8").splitlines()
    encoded = [
        np.array(encoding.ids, dtype=kind)
        for start in range(0, len(lines), LINES_AT_ONCE)
        for encoding in trained.encode_batch_fast(lines[start : start + LINES_AT_ONCE])
    ]
    np.save(output, np.concatenate(encoded))
    log.info("%d documents, %d tokens", len(lines), sum(map(len, encoded)))


if __name__ == "__main__":
    command(tokens)
