"""Asks a server that speaks the OpenAI-compatible protocol, and asks again after a fault.

Faults of the server or the way to it (time-outs, rate limits, errors, broken responses) leave a
question without an answer. Faults of the answer (refused, truncated, empty, unparsed) are an answer
without a verdict, if they last. Nothing is guessed.
"""

import email.utils
import random
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from underspec import strict_json
from underspec.data.texts import whole
from underspec.errors import ConfigError, UserError, first_line
from underspec.judging.answer_file import Answer
from underspec.judging.prompts import verdict
from underspec.judging.questions import Question

WITHOUT_VERDICT = ("refused", "truncated", "empty", "unparsed")
REJECTED = "rejected"  # by the server, which would do so again
MOST_BYTES = 10**7  # of a response
LONGEST_BACKOFF, LONGEST_WAIT = 60.0, 600.0  # seconds: our own, and one that a server asks for
BUSY = (408, 409, 425, 429)
TOO_BAD = (400, 413, 422)  # for this question: too long, or filtered
SNAPSHOT = r"(-[\d-]+)?"  # a service may add the date of a model to its name


class _Lenient(BaseModel):
    model_config = ConfigDict(strict=True)


class _Message(_Lenient):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Lenient):
    message: _Message
    finish_reason: str | None = None


class _Usage(_Lenient):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(_Lenient):
    model: str
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class Fault(Exception):
    """An attempt that failed; wait: so many seconds that the server asks for."""

    def __init__(self, kind: str, detail: str = "", wait: float | None = None):
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind, self.detail, self.wait = kind, detail, wait


class Stopped(Exception):
    """The run ends, so nothing more is asked."""


@dataclass
class Server:
    """A server, shared by all threads.

    url: below which it has chat/completions; key: sent with each request, and nowhere else;
    key_variable: where it is from, for messages; timeout: seconds until a response is whole;
    attempts: for each question; backoff: seconds before the second attempt, doubled after each;
    transport: what takes the place of the network.
    """

    url: str
    timeout: float
    attempts: int
    key: str | None = None
    key_variable: str | None = None
    backoff: float = 1.0
    transport: httpx2.BaseTransport | None = None
    faults: Counter = field(default_factory=Counter)

    def __post_init__(self):
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self.client = httpx2.Client(
            base_url=self.url.rstrip("/") + "/",
            headers=headers,
            timeout=self.timeout,
            transport=self.transport,
            limits=httpx2.Limits(max_connections=None),
        )
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._not_before = 0.0  # until then the server wants no request, from any thread

    def ask(self, question: Question) -> Answer:
        """The answer to a question. Raises Fault if the server gives none, UserError if it gives
        none to any question, and Stopped.
        """
        for attempt in range(1, self.attempts + 1):
            self._pause(self._not_before - time.monotonic())
            try:
                return self._attempt(question, attempt)
            except Fault as fault:
                if fault.kind == REJECTED or attempt == self.attempts:
                    raise
                self._count(fault.kind)
                self._wait_after(fault, attempt)
            except _NoVerdict as none:
                if attempt == self.attempts:
                    return none.answer
                self._count(none.answer.verdict)
        raise AssertionError("unreachable: there is at least one attempt")

    def _count(self, kind: str) -> None:
        with self._lock:
            self.faults[kind] += 1

    def _wait_after(self, fault: Fault, attempt: int) -> None:
        if fault.wait is None:
            longest = min(self.backoff * 2 ** (attempt - 1), LONGEST_BACKOFF)
            self._pause(longest * random.uniform(0.5, 1))
        elif fault.wait > LONGEST_WAIT:
            raise UserError(
                f"{self.url}: asks to wait {fault.wait:,.0f} s; run Snakemake again after that, and"
                " only what is missing will be asked"
            )
        else:
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + fault.wait)

    def _pause(self, seconds: float) -> None:
        if self.stopping.wait(max(seconds, 0)):
            raise Stopped

    def _attempt(self, question: Question, attempt: int) -> Answer:
        content = self._post(question.body(attempt))
        try:
            completion = _Completion.model_validate(strict_json.parse(content))
        except ValidationError as error:
            raise Fault("malformed response", str(error.errors()[0]["loc"])) from None
        except ValueError as error:  # truncated, say
            raise Fault("malformed response", first_line(error)) from None
        asked = question.request.model
        if not re.fullmatch(re.escape(asked) + SNAPSHOT, completion.model):
            raise Fault("another model", f"{completion.model} answered in place of {asked}")
        return self._read(completion, question.key, attempt)

    def _read(self, completion: _Completion, key: str, attempt: int) -> Answer:
        choice, usage = completion.choices[0], completion.usage or _Usage()
        text = choice.message.content or ""
        found = verdict(text)
        if choice.message.refusal or choice.finish_reason == "content_filter":
            text, found = text or choice.message.refusal or "", "refused"
        elif choice.finish_reason == "length":
            found = "truncated"
        elif found is None:
            found = "unparsed" if text.strip() else "empty"
        answer = Answer(
            key=key,
            verdict=found,
            answer=self._without_key(whole(text)),
            model=whole(completion.model),
            attempts=attempt,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )
        if found in WITHOUT_VERDICT:
            raise _NoVerdict(answer)
        return answer

    def _post(self, body: dict) -> bytes:
        """The content of a successful response."""
        deadline = time.monotonic() + self.timeout
        try:
            with self.client.stream("POST", "chat/completions", json=body) as response:
                content = bytearray()
                for piece in response.iter_bytes():
                    content += piece
                    if time.monotonic() > deadline:
                        raise Fault("time-out")
                    if len(content) > MOST_BYTES:
                        raise Fault("malformed response", f"more than {MOST_BYTES:,} bytes")
        except httpx2.TimeoutException:
            raise Fault("time-out") from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise ConfigError(f"judge.url: {self.url}: {first_line(error)}") from None
        except httpx2.HTTPError as error:
            raise Fault("no connection", first_line(error)) from None
        self._check(response, bytes(content))
        return bytes(content)

    def _check(self, response: httpx2.Response, content: bytes) -> None:
        """Raises unless the request succeeded."""
        status = response.status_code
        if status == 200:
            return
        text = whole(content[:2000].decode(errors="replace"))
        said = " ".join(self._without_key(text).split())[:300]
        if status in BUSY or status >= 500:
            kind = "rate limit" if status == 429 else f"status {status}"
            raise Fault(kind, said, _retry_after(response.headers.get("Retry-After")))
        if status in TOO_BAD:
            raise Fault(REJECTED, f"status {status}: {said}")
        if status in (401, 403):
            source = f"the key in {self.key_variable}" if self.key else "a request without a key"
            raise UserError(
                f"{self.url}: refuses {source} ({said}); correct it, or judge.api_key_variable"
            )
        raise UserError(f"{self.url}: status {status} ({said}); correct judge.url or judge.model")

    def _without_key(self, text: str) -> str:
        """A server may repeat the key in what it says."""
        return text.replace(self.key, "[key]") if self.key else text


class _NoVerdict(Exception):
    def __init__(self, answer: Answer):
        super().__init__(answer.verdict)
        self.answer = answer


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number or a date; None if it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(seconds, 0.0) if seconds == seconds else None
