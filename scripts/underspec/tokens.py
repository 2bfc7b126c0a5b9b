"""Tokenizers trained on the pretraining text, and texts as arrays of token ids."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from underspec.errors import ArtifactError

log = logging.getLogger(__name__)

PAD, EOS, UNK = 0, 1, 2
SENTINELS = 100
SPECIAL = ["<pad>", "</s>", "<unk>"]


def train_tokenizer(lines: Iterable[str], kind: str, vocabulary: int) -> tokenizers.Tokenizer:
    """A tokenizer of at most `vocabulary` tokens, special ones and T5's 100 sentinels included.

    `word`: one token per space-separated word (for generated worlds); `unigram`: SentencePiece's
    model, as T5's. Ids are T5's: pad 0, eos 1, unk 2, and <extra_id_0> is the last id of all.
    """
    learned = vocabulary - SENTINELS
    if kind == "word":
        tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordLevelTrainer(
            vocab_size=learned, special_tokens=SPECIAL, show_progress=False
        )
    else:
        tokenizer = tokenizers.Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=learned, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        )
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", EOS)]
    )
    tokenizer.add_special_tokens([f"<extra_id_{i}>" for i in reversed(range(SENTINELS))])
    return tokenizer


def load_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a Hugging Face folder. Raises ArtifactError if it cannot be read."""
    try:
        return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises bare Exception
        raise ArtifactError(f"{folder / 'tokenizer.json'}: no tokenizer ({error})") from None


def encode(tokenizer: tokenizers.Tokenizer, texts: Iterable[str], limit: int) -> list[np.ndarray]:
    """Token ids of each text, eos last; longer texts are cut to `limit` tokens, eos kept.

    How many were cut is said on the log.
    """
    encoded = [np.array(each.ids, dtype=np.int64) for each in tokenizer.encode_batch(list(texts))]
    cut = [i for i, ids in enumerate(encoded) if len(ids) > limit]
    for i in cut:
        encoded[i] = np.append(encoded[i][: limit - 1], EOS)
    if cut:
        log.warning("%d of %d texts cut to %d tokens", len(cut), len(encoded), limit)
    return encoded


def decode(tokenizer: tokenizers.Tokenizer, ids: np.ndarray) -> list[str]:
    """Texts of rows of ids (rows, length), special tokens left out."""
    return [text.strip() for text in tokenizer.decode_batch(ids.tolist())]


def pad(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of ids as one (rows, longest) array, padded with PAD."""
    padded = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded
