"""Asks what has not been asked, and keeps every answer as it comes."""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed

import pandas as pd

from underspec.errors import UserError
from underspec.judging.answer_file import Answer, AnswerFile
from underspec.judging.chat import REJECTED, Fault, Server
from underspec.judging.questions import Question
from underspec.progress import Progress

log = logging.getLogger(__name__)

HOPELESS = 5  # questions without an answer, one after another, after which no more are asked
MOST_REJECTED = 0.1  # of all questions; more, and it is the request that is wrong


def ask(
    questions: list[Question], server: Server, answers: AnswerFile, concurrency: int
) -> pd.DataFrame:
    """Ask every question that `answers` has no answer to, and return the answers to all, in their
    order (artifacts.ANSWERS). What the server rejected has a row as well, with its reason, but is
    not in the file: a later run asks it again.

    Raises UserError if questions are left without an answer: those that have one stay on disk.
    """
    missing = [question for question in questions if question.key not in answers.known]
    known = len(questions) - len(missing)
    log.info("%d questions, %d already have an answer", len(questions), known)
    rejected = _ask(missing, server, answers, concurrency, any_answered=known > 0)
    table = _table(questions, answers, rejected)
    log.info("answers: %s", _listed(Counter(table["verdict"])))
    if server.faults:
        log.warning("faults, after which a question was asked again: %s", _listed(server.faults))
    if len(rejected) > MOST_REJECTED * len(questions):
        raise UserError(
            f"judge: the server rejected {len(rejected)} of {len(questions)} questions "
            f"({next(iter(rejected.values()))}); correct the judge's settings or prompt"
        )
    return table


def _ask(
    missing: list[Question],
    server: Server,
    answers: AnswerFile,
    concurrency: int,
    any_answered: bool,
) -> dict[str, str]:
    """Returns why questions were rejected, by key.

    any_answered: whether the server has ever answered such a question. If so, rejections are about
    single questions, however many come one after another: in a later run those of an earlier one
    do.
    """
    progress, rejected, in_vain, failed = Progress(log, len(missing)), {}, 0, 0
    with ThreadPoolExecutor(concurrency) as pool:
        waiting = {pool.submit(server.ask, question): question for question in missing}
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                question = waiting[future]
                try:
                    answers.add(future.result())
                    in_vain, any_answered = 0, True
                except Fault as fault:
                    if fault.kind == REJECTED:
                        rejected[question.key] = fault.detail
                        in_vain += not any_answered
                    else:
                        failed += 1
                        in_vain += 1
                    if in_vain >= HOPELESS:
                        raise _unanswered(len(missing) - done + failed, fault) from None
                progress.show(done, f"question {done} of {len(missing)}")
        finally:
            server.stopping.set()
            pool.shutdown(cancel_futures=True)
    if failed:
        raise _unanswered(failed, None)
    return rejected


def _unanswered(count: int, fault: Fault | None) -> UserError:
    last = f" (the last: {fault})" if fault else ""
    return UserError(
        f"judge: {count} questions have no answer{last}; run Snakemake again, and only these will "
        "be asked"
    )


def _table(
    questions: list[Question], answers: AnswerFile, rejected: dict[str, str]
) -> pd.DataFrame:
    def found(question: Question) -> Answer:
        if question.key not in rejected:
            return answers.known[question.key]
        reason = {"verdict": REJECTED, "answer": rejected[question.key]}
        none = dict.fromkeys(("attempts", "prompt_tokens", "completion_tokens"), 0)
        return Answer(key=question.key, model=question.request.model, **reason, **none)

    asked = [
        {name: getattr(question, name) for name in ("post_id", "first", "second")}
        | {"answer_index": question.answer}
        for question in questions
    ]
    found_rows = [found(question).model_dump() for question in questions]
    return pd.DataFrame([one | other for one, other in zip(asked, found_rows, strict=True)])


def _listed(counts: Counter) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
