import os
from pathlib import Path
from typing import Annotated

from underspec.artifacts import ANSWERS, COMPARISONS, read_posts, read_table, write_table
from underspec.command import command
from underspec.config import sections
from underspec.config.judge import JudgeRequest, JudgeServer
from underspec.errors import ConfigError, UserError
from underspec.judging.answer_file import opened
from underspec.judging.asking import ask
from underspec.judging.chat import Server
from underspec.judging.gold_judge import gold_judge
from underspec.judging.prompts import read_prompt
from underspec.judging.questions import Request, questions

LOCAL = "http://gold"  # nothing is sent there


def ask_judge(
    *,
    comparisons: Path,
    posts: Path,
    prompt: Path,
    request: Annotated[dict, JudgeRequest],
    answers: sections.Count,
    rater: str = "",
    server: Annotated[dict, JudgeServer],
    answer_file: Path,
    output: Path,
) -> None:
    """Ask a judge about all comparisons, and write its answers.

    request: what is sent with each question; answers: for each order of two texts; rater: the gold
    rater that answers in place of a server; server: where and how to ask (keys of the config);
    answer_file: every answer as it comes; what is in it is not asked again.
    """
    table = read_table(comparisons, COMPARISONS)
    of_posts = read_posts(posts, table.post_id, comparisons)
    wanted = questions(table, of_posts, read_prompt(prompt), Request(**request), answers)
    if not wanted:
        raise UserError(f"{comparisons}: no two texts differ, so there is nothing to ask a judge")
    settings = {key: server[key] for key in ("timeout", "attempts", "backoff")}
    if rater:
        transport, wanted = gold_judge(rater, of_posts, wanted)
        asked = Server(LOCAL, **settings, transport=transport)
    else:
        variable = server["api_key_variable"]
        asked = Server(server["url"], **settings, key=_key(variable), key_variable=variable)
    with opened(answer_file) as file:
        write_table(ask(wanted, asked, file, server["concurrency"]), output, ANSWERS)


def _key(variable: str | None) -> str | None:
    """The key from the environment; it is written nowhere."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"judge.api_key_variable: {variable} is not set; export it where you start Snakemake"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            f"judge.api_key_variable: {variable} holds something that is no key (it has blanks or "
            "characters that no header can have); set it to the key alone"
        )
    return key


if __name__ == "__main__":
    command(ask_judge)
