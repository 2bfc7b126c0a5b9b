"""Tokenizers (trained on the pretraining text, or T5's) and texts as arrays of token ids."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from underspec.data.special_tokens import EOS, PAD, SENTINELS, UNK
from underspec.errors import ArtifactError, ConfigError

log = logging.getLogger(__name__)

UNUSED = "<unused_"
LINE_BREAK = "\n"
AROUND_BREAK = re.compile(r" *\n *")  # pieces begin with a space, also those that begin a line
SPECIAL = ["<pad>", "</s>", "<unk>"]
SPELLED = "<(?=(?:pad|/s|unk|extra_id_[0-9]+|unused_[0-9]+)>)"  # the < of a special token's name


def train_tokenizer(
    lines: Iterable[str], kind: str, vocabulary: int, line_breaks: bool = False
) -> tokenizers.Tokenizer:
    """A tokenizer of at most `vocabulary` tokens, including special tokens and T5's 100 sentinels.

    `word`: one token per space-separated word (for generated worlds); `unigram`: SentencePiece's
    model, as in T5. Special ids are T5's: pad 0, eos 1, unk 2, and <extra_id_0> is the last id.
    With `line_breaks`, the id before the sentinels is that of a line break, which is otherwise read
    as a space.
    """
    learned = vocabulary - SENTINELS - line_breaks
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
    if line_breaks:
        _add_line_break(tokenizer)
    tokenizer.add_special_tokens([f"<extra_id_{i}>" for i in reversed(range(SENTINELS))])
    return tokenizer


def import_t5(file: Path, vocabulary: int, line_breaks: bool = False) -> tokenizers.Tokenizer:
    """The published T5 tokenizer in `file`, extended to exactly `vocabulary` tokens.

    T5's embeddings have more rows (32,128) than its tokenizer has tokens (32,100). Special tokens
    <unused_0>, <unused_1>, ... after the sentinels fill the gap, so that the tokenizer determines
    the vocabulary size. With `line_breaks`, the first of these rows is that of a line break, which
    T5 otherwise reads as a space; finetuning has to learn it.

    Raises ArtifactError if the ids in `file` are not T5's; ConfigError if it has more than
    `vocabulary` tokens.
    """
    tokenizer = read_tokenizer(file)
    tokenizer.no_truncation()  # `encode` truncates
    tokenizer.no_padding()
    size = tokenizer.get_vocab_size()
    ids = {"<pad>": PAD, "</s>": EOS, "<unk>": UNK}
    ids |= {f"<extra_id_{i}>": size - 1 - i for i in range(SENTINELS)}
    for token, expected in ids.items():
        if (found := tokenizer.token_to_id(token)) != expected:
            raise ArtifactError(f"{file}: not T5's: the id of {token} is {found}, not {expected}")
    if tokenizer.encode("").ids != [EOS]:
        raise ArtifactError(f"{file}: not T5's: it does not end a text with </s>")
    if size + line_breaks > vocabulary:
        more = " and a line break" if line_breaks else ""
        raise ConfigError(
            f"tokenizer.vocabulary: {vocabulary} is less than the {size} tokens of {file}{more}"
        )
    if line_breaks:
        _add_line_break(tokenizer)
    unused = vocabulary - tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([f"{UNUSED}{i}>" for i in range(unused)])
    return tokenizer


def _add_line_break(tokenizer: tokenizers.Tokenizer) -> None:
    """Make a line break the next token. It is searched for in the text as it is, before anything
    reads it as white space; and it is no special token, so that it is decoded."""
    tokenizer.add_tokens([tokenizers.AddedToken(LINE_BREAK, normalized=False)])


def used_tokens(tokenizer: tokenizers.Tokenizer) -> dict[str, int]:
    """Token -> id, without those that `import_t5` adds: unused tokens and the line break."""
    return {
        token: id
        for token, id in tokenizer.get_vocab().items()
        if not token.startswith(UNUSED) and token != LINE_BREAK
    }


def first_sentinel(tokenizer: tokenizers.Tokenizer) -> int:
    """The id of <extra_id_0>; the other sentinels count down from it.

    Raises ArtifactError if there is none.
    """
    found = tokenizer.token_to_id("<extra_id_0>")
    if found is None:
        raise ArtifactError("the tokenizer has no <extra_id_0>; span corruption needs sentinels")
    return found


def load_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a Hugging Face folder. Raises ArtifactError if it cannot be read."""
    return read_tokenizer(folder / "tokenizer.json")


def read_tokenizer(file: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise ArtifactError(
            f"{file}: not a tokenizer ({error}); delete its folder and run Snakemake again"
        ) from None


def save_tokenizer(tokenizer: tokenizers.Tokenizer, folder: Path) -> None:
    """Write the tokenizer as a folder for AutoTokenizer."""
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def encode(tokenizer: tokenizers.Tokenizer, texts: Iterable[str], limit: int) -> list[np.ndarray]:
    """Token ids of each text with eos, truncated to `limit` tokens including eos.

    Logs how many were truncated. Raises ArtifactError as `token_ids` does.
    """
    encoded = token_ids(tokenizer, list(texts))
    too_long = [i for i, ids in enumerate(encoded) if len(ids) > limit]
    for i in too_long:
        encoded[i] = np.append(encoded[i][: limit - 1], EOS)
    if too_long:
        log.warning("%d of %d texts truncated to %d tokens", len(too_long), len(encoded), limit)
    return encoded


def token_ids(tokenizer: tokenizers.Tokenizer, texts: list[str]) -> list[np.ndarray]:
    """Token ids of each text with eos, not truncated.

    The name of a special token in a text, such as `</s>`, is ordinary text and is split into
    pieces. Raises ArtifactError if the tokenizer has special tokens that T5 does not have, and a
    text contains the name of one.
    """
    special = np.zeros(tokenizer.get_vocab_size(), dtype=bool)
    ordinary = {UNK, tokenizer.token_to_id(LINE_BREAK)}
    special[[id for id in tokenizer.get_added_tokens_decoder() if id not in ordinary]] = True
    encoded = _token_ids(tokenizer, texts)
    # Few texts contain such a name; splitting names in all texts would take 50 % longer.
    named = [i for i, ids in enumerate(encoded) if special[ids[:-1]].any() or "<unk>" in texts[i]]
    if not named:
        return encoded
    again = _token_ids(_without_special_tokens(tokenizer), [texts[i] for i in named])
    for i, ids in zip(named, again, strict=True):
        if (found := ids[:-1][special[ids[:-1]]]).size:
            raise ArtifactError(
                f"a text contains {tokenizer.id_to_token(int(found[0]))}, a special token of the "
                "tokenizer that T5 does not have; use T5's tokenizer, or one trained here"
            )
        encoded[i] = ids
    return encoded


def _token_ids(tokenizer: tokenizers.Tokenizer, texts: list[str]) -> list[np.ndarray]:
    batch = tokenizer.encode_batch_fast(texts)  # without offsets
    return [np.array(each.ids, dtype=np.int64) for each in batch]


def _without_special_tokens(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """A copy of `tokenizer` that finds no special tokens in texts.

    It does not search a text for special tokens, and splits their names, so that no word is looked
    up in the vocabulary under such a name.
    """
    copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    before = [copy.pre_tokenizer] if copy.pre_tokenizer else []
    split = pre_tokenizers.Split(tokenizers.Regex(SPELLED), "isolated")
    copy.pre_tokenizer = pre_tokenizers.Sequence([*before, split])
    return copy


def check_ids(names: Iterable[str], texts: list[np.ndarray], vocabulary: int) -> None:
    """Raise ArtifactError, naming the first bad text, if a text cannot be batched (see
    `check_batchable`) or has ids outside of the vocabulary.
    """
    names = list(names)
    check_batchable(names, texts)
    for name, ids in zip(names, texts, strict=True):
        if (largest := int(ids.max())) >= vocabulary:
            raise ArtifactError(
                f"{name}: token id {largest}, but the model's vocabulary has {vocabulary} tokens; "
                "tokenizer and weights do not belong together"
            )


def check_batchable(names: Iterable[str], texts: list[np.ndarray]) -> None:
    """Raise ArtifactError, naming the first bad text, if a text is empty or contains PAD, which
    would end it in a padded batch.
    """
    for name, ids in zip(names, texts, strict=True):
        if len(ids) == 0:
            raise ArtifactError(f"{name}: has no tokens; even an empty text has an eos")
        if (ids == PAD).any():
            raise ArtifactError(
                f"{name}: token {int(np.argmax(ids == PAD))} is padding; encode the text with "
                "tokenization.encode and do not pad it"
            )


def decode(tokenizer: tokenizers.Tokenizer, ids: Iterable[np.ndarray]) -> list[str]:
    """Texts of rows of ids, without special tokens, and without spaces around line breaks.

    What `texts.lines` returns is the same after encoding and decoding, but for characters that the
    tokenizer does not know.
    """
    texts = tokenizer.decode_batch([row.tolist() for row in ids])
    return [AROUND_BREAK.sub(LINE_BREAK, text).strip() for text in texts]


def pad(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of ids as one array (rows, longest), padded with PAD."""
    padded = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded
