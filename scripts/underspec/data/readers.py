"""How reward models read texts: posts and their candidates as token ids.

Every reader returns each post's ids and those of its candidates. A T5 reads the two apart, in the
experiment's tokens. Models of other families read one after the other, in tokens of their own: a
post's ids are then what all its candidates begin with, and a candidate's ids are what follows.
"""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from underspec.data.templates import CHAT, POST, SAMPLE, parts
from underspec.data.tokenization import encode
from underspec.errors import ArtifactError, first_line

log = logging.getLogger(__name__)

Texts = list[np.ndarray]
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")


class Reader(Protocol):
    """identity: two readers with the same read all texts alike."""

    identity: str

    def __call__(
        self, posts: Sequence[str], candidates: Sequence[Sequence[str]]
    ) -> tuple[Texts, list[Texts]]:
        """Token ids of the posts, and of each post's candidates. Logs how many were truncated."""
        ...


class ApartReader:
    """Reads posts and candidates apart, each with an eos, truncated to `lengths`."""

    identity = "apart"

    def __init__(self, tokenizer: tokenizers.Tokenizer, lengths: dict[str, int]):
        self.tokenizer, self.lengths = tokenizer, lengths

    def __call__(self, posts, candidates):
        every = [text for own in candidates for text in own]
        encoded_posts = encode(self.tokenizer, posts, self.lengths["post"])
        encoded = iter(encode(self.tokenizer, every, self.lengths["summary"]))
        return encoded_posts, [[next(encoded) for _ in own] for own in candidates]


class JoinedReader(ABC):
    """Reads a post and a candidate as one text, in the tokens of the model in `folder`.

    A post is truncated to `longest_post` of these tokens, and further where it does not fit into
    `limit`, the model's positions, together with its candidate. A candidate is never truncated.
    Raises ArtifactError if one does not fit, or if a text has a special token.
    """

    def __init__(self, folder: Path, longest_post: int, limit: int, **options: str | bool):
        self.tokenizer = load_tokenizer(folder)
        self.folder, self.longest_post = folder, longest_post
        self.limit = min(limit, self.tokenizer.model_max_length)
        self.plain = _copy(self.tokenizer)
        self.plain.encode_special_tokens = True  # their names in texts are ordinary text
        added = self.tokenizer.added_tokens_decoder.items()
        self.special = {id: token.content for id, token in added if token.special}
        about = [self.plain.to_str(), str(self.tokenizer.chat_template)]
        about += map(str, (longest_post, self.limit, options))
        self.identity = hashlib.sha256("\n".join(about).encode()).hexdigest()

    def __call__(self, posts, candidates):
        texts = self._beginnings(list(posts), self.longest_post)
        if truncated := sum(old != new for old, new in zip(posts, texts, strict=True)):
            log.warning(
                "%d of %d posts truncated to %d tokens", truncated, len(texts), self.longest_post
            )
        pairs = [(text, each) for text, own in zip(texts, candidates, strict=True) for each in own]
        read = self.whole(pairs)
        too_long = [i for i, ids in enumerate(read) if len(ids) > self.limit]
        for i in too_long:
            read[i] = self._fitted(*pairs[i], len(read[i]))
        if too_long:
            log.warning(
                "%d of %d posts with a candidate truncated to the model's %d tokens",
                *(len(too_long), len(pairs), self.limit),
            )
        every = iter(read)
        both = [split([next(every) for _ in own]) for own in candidates]
        return [shared for shared, _ in both], [others for _, others in both]

    @abstractmethod
    def whole(self, pairs: list[tuple[str, str]]) -> Texts:
        """The ids of posts with a candidate each."""

    def _beginnings(self, texts: list[str], most: int) -> list[str]:
        """The first `most` tokens of each text."""
        encoded = self.plain.encode_batch(texts, add_special_tokens=False)
        return [
            text[: ids.offsets[most - 1][1] if most else 0] if len(ids) > most else text
            for text, ids in zip(texts, encoded, strict=True)
        ]

    def _fitted(self, post: str, candidate: str, length: int) -> np.ndarray:
        """The ids of a pair with so much of the post that they fit; `length`: of the whole pair."""
        (encoded,) = self.plain.encode_batch([post], add_special_tokens=False)
        most = len(encoded)
        while length > self.limit:
            if not most:
                raise ArtifactError(
                    f"{self.folder}: reads at most {self.limit} tokens, and a candidate needs "
                    f"{length} without its post (it begins with {candidate[:40]!r}); use a model "
                    "with more positions"
                )
            most = max(0, most - (length - self.limit))
            (ids,) = self.whole([(*self._beginnings([post], most), candidate)])
            length = len(ids)
        return ids

    def _check(self, ids: Iterable[int]) -> None:
        """Raise ArtifactError if ids of a text are those of a special token."""
        unknown = {self.tokenizer.unk_token_id} - {self.tokenizer.eos_token_id}
        if named := self.special.keys() & set(ids) - unknown:
            raise self._fault(self.special[min(named)])

    def _fault(self, token: str) -> ArtifactError:
        return ArtifactError(
            f"{self.folder}: a text contains {token}, a special token of its tokenizer; use "
            "another model, or texts without it"
        )


class PairReader(JoinedReader):
    """For encoders: a post and a candidate as a pair of texts, in BERT: [CLS] post [SEP] candidate
    [SEP].
    """

    def whole(self, pairs):
        encoded = self.plain.encode_batch(pairs)
        for each in encoded:
            added = each.special_tokens_mask
            self._check(id for id, mark in zip(each.ids, added, strict=True) if not mark)
        return [np.array(each.ids, dtype=np.int64) for each in encoded]


class TemplateReader(JoinedReader):
    """For decoders: a text with {post} and {sample} replaced, and an eos if the tokenizer has one;
    or, with CHAT as the template, what the tokenizer's chat template makes of a user's post and the
    assistant's sample.
    """

    def __init__(self, folder: Path, longest_post: int, limit: int, template: str):
        super().__init__(folder, longest_post, limit, template=template)
        self.template = template
        if template == CHAT and not self.tokenizer.chat_template:
            raise ArtifactError(
                f"{folder}: its tokenizer has no chat template; write a template with {POST} and "
                f"{SAMPLE} into the config"
            )
        self.chat = _copy(self.tokenizer)

    def whole(self, pairs):
        if self.template == CHAT:
            return self._chats(pairs)
        before, between, after = parts(self.template)
        texts = [f"{before}{post}{between}{sample}{after}" for post, sample in pairs]
        encoded = self.plain.encode_batch(texts)
        eos, read = self.tokenizer.eos_token_id, []
        for each in encoded:
            added = each.special_tokens_mask
            self._check(id for id, mark in zip(each.ids, added, strict=True) if not mark)
            ends = eos is None or each.ids[-1:] == [eos]
            read.append(np.array(each.ids if ends else [*each.ids, eos], dtype=np.int64))
        return read

    def _chats(self, pairs: list[tuple[str, str]]) -> Texts:
        for text in {text for pair in pairs for text in pair}:
            if found := next((name for name in self.special.values() if name in text), None):
                raise self._fault(found)
        messages = [
            [{"role": "user", "content": post}, {"role": "assistant", "content": sample}]
            for post, sample in pairs
        ]
        try:
            texts = self.tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception as error:  # whatever the template raises
            raise ArtifactError(
                f"{self.folder}: its chat template cannot be used ({first_line(error)}); write a "
                f"template with {POST} and {SAMPLE} into the config"
            ) from None
        encoded = self.chat.encode_batch(texts, add_special_tokens=False)
        return [np.array(each.ids, dtype=np.int64) for each in encoded]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a model's folder. Raises ArtifactError, naming the folder, if it is missing
    or damaged, or if it needs code of its own.
    """
    # Without one of these, transformers would make one up.
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ArtifactError(
            f"{folder}: has no tokenizer; it must have the model's own, in one of "
            + ", ".join(VOCABULARIES)
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers and tokenizers raise whatever they meet
        raise ArtifactError(
            f"{folder}: its tokenizer cannot be read ({first_line(error)}); get its files again"
        ) from None
    if not tokenizer.is_fast:
        raise ArtifactError(
            f"{folder}: its tokenizer has no tokenizer.json; open it with AutoTokenizer where it "
            "can be converted, and save it"
        )
    return tokenizer


def _copy(tokenizer: PreTrainedTokenizerFast) -> tokenizers.Tokenizer:
    copy = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def split(whole: Texts) -> tuple[np.ndarray, Texts]:
    """The longest beginning that arrays of ids have in common, and the rest of each, which is never
    empty.
    """
    most = min(map(len, whole)) - 1
    first = whole[0][:most]
    differing = [np.flatnonzero(ids[:most] != first) for ids in whole]
    shared = min((each[0] for each in differing if len(each)), default=most)
    return first[:shared], [ids[shared:] for ids in whole]
