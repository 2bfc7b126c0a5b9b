"""Asking a judge: a real server on loopback that misbehaves, a real process that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pandas as pd
import pytest
from judge_server import FAULTS, MODEL, judge_server, share_of

from underspec.artifacts import ANSWERS, COMPARISONS, POSTS, read_table, write_table
from underspec.errors import UserError
from underspec.judging import chat
from underspec.judging.answer_file import Answer, opened
from underspec.judging.asking import ask
from underspec.judging.chat import Fault, Server
from underspec.judging.prompts import read_prompt
from underspec.judging.questions import Question, Request, questions

ROOT = Path(__file__).parents[3]
PROMPT = ROOT / "prompts/judge_tldr.txt"
REQUEST = {"model": MODEL, "temperature": 0.5, "max_tokens": 64, "seed": 3}
KEY = "sk-test-5e0b1c77"  # looks like a key, so that a trace of it would be found
ATTEMPTS = 3


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def comparisons(posts):
    """One contest: a pair of texts a post; those of the last post look alike."""
    return pd.DataFrame(
        {
            **dict.fromkeys(("scale", "better", "worse", "better_ranker", "worse_ranker"), "x"),
            "parameters": 1000.0,
            "pair": 0,
            "post_id": [f"post{i}" for i in range(posts)],
            "text": [f"summary {i} by one" for i in range(posts)],
            "other": [f"summary {i} by another" for i in range(posts - 1)]
            + [f"summary {posts - 1}  by one"],
        }
    )


def posts_of(table):
    ids = table.post_id.unique()
    return pd.DataFrame(
        {"post_id": ids, "split": "best_of_n", "post": "A $post of {first}.", "reference": "r"}
    ).assign(post=lambda posts: posts.post + posts.post_id)


def wanted(posts, answers=1, **request):
    table = comparisons(posts)
    return questions(
        table, posts_of(table), read_prompt(PROMPT), Request(**REQUEST | request), answers
    )


def server_at(url, attempts=ATTEMPTS, timeout=60.0, **options):
    return Server(url, timeout=timeout, attempts=attempts, backoff=0.01, **options)


def asked(every, url, folder, concurrency=4, **options):
    with opened(folder / "answers.jsonl") as file:
        return ask(every, server_at(url, **options), file, concurrency)


def test_every_question_is_asked_once_in_both_orders(tmp_path):
    every = wanted(5, answers=3)
    assert len(every) == 4 * 2 * 3  # the fifth pair looks alike
    assert len({question.key for question in every}) == len(every)
    with judge_server(lambda body: "I compare.\n\nVerdict: B") as (judge, url):
        table = asked(every, url, tmp_path)
        again = asked(every, url, tmp_path)
    assert table.equals(again) and set(table.verdict) == {"second"}
    assert sum(judge.asked.values()) == len(every)
    assert set(judge.asked.values()) == {3}
    assert len({body["seed"] for body in judge.bodies}) == len(every)
    prompt = every[0].prompt
    assert "A $post of {first}.post0" in prompt  # a text is never a template
    assert prompt.index("by one") < prompt.index("by another")


@pytest.mark.parametrize("kind", FAULTS)
def test_after_a_fault_the_question_is_asked_again(kind, tmp_path):
    every = wanted(3)
    slow = {"timeout": 0.3, "attempts": 50} if kind == "slow" else {}
    with judge_server(fault=lambda body, n: kind if n == 1 else None) as (judge, url):
        if kind == "rejected":
            with pytest.raises(UserError, match="rejected 4 of 4 questions .*too long"):
                asked(every, url, tmp_path)
            return
        table = asked(every, url, tmp_path, **slow)
    assert list(table.verdict) == ["first"] * 4 and judge.faults == {kind: 4}
    if not slow:  # a busy machine may need more
        assert list(table.attempts) == [2] * 4 and set(judge.asked.values()) == {2}


LASTING = {"refused": "refused", "filtered": "refused", "empty": "empty"}
LASTING |= {"truncated": "truncated", "unparsed": "unparsed"}


@pytest.mark.parametrize(("kind", "verdict"), LASTING.items())
def test_an_answer_without_a_verdict_is_counted_and_never_guessed(kind, verdict, tmp_path):
    every = wanted(3)
    with judge_server(fault=lambda body, n: kind) as (judge, url):
        table = asked(every, url, tmp_path)
        asked(every, url, tmp_path)
    assert set(table.verdict) == {verdict} and set(table.attempts) == {ATTEMPTS}
    assert set(judge.asked.values()) == {ATTEMPTS}  # it is an answer: not asked again
    assert len({body["seed"] for body in judge.bodies}) == 4 * ATTEMPTS


@pytest.mark.parametrize("kind", ["server error", "another model", "hangs up"])
def test_a_server_that_answers_nothing_is_given_up_and_asked_later(kind, tmp_path):
    every = wanted(20)
    with judge_server(fault=lambda body, n: kind) as (judge, url):
        with pytest.raises(UserError, match="38 questions have no answer .*run Snakemake again"):
            asked(every, url, tmp_path, concurrency=1, attempts=1)
        assert len(judge.asked) < 10
        judge.fault = lambda body, n: None
        assert set(asked(every, url, tmp_path).verdict) == {"first"}


def test_some_questions_without_an_answer_fail_the_job_and_keep_the_others(tmp_path):
    every = wanted(20)
    bad = every[7].prompt

    def fault(body, n):
        return "server error" if body["messages"][0]["content"] == bad else None

    with judge_server(fault=fault) as (judge, url):
        with pytest.raises(UserError, match="1 questions have no answer"):
            asked(every, url, tmp_path)
        judge.fault = lambda body, n: None
        before = judge.asked.copy()
        asked(every, url, tmp_path)
    assert judge.asked - before == {bad: 1}


def test_a_few_rejected_questions_have_a_row_and_are_asked_again_by_a_later_run(tmp_path):
    every = wanted(20)
    bad = every[3].prompt

    def fault(body, n):
        return "rejected" if body["messages"][0]["content"] == bad else None

    with judge_server(fault=fault) as (judge, url):
        table = asked(every, url, tmp_path)
        asked(every, url, tmp_path)
    assert list(table.verdict).count("rejected") == 1 and judge.asked[bad] == 2
    assert "too long" in table.answer[3] and judge.asked.total() == len(every) + 1


def test_questions_that_are_rejected_again_one_after_another_do_not_stop_a_later_run(tmp_path):
    every = wanted(60)
    bad = {each.prompt for each in every if each.post_id in ("post3", "post4", "post5")}

    def fault(body, n):
        return "rejected" if body["messages"][0]["content"] in bad else None

    with judge_server(fault=fault) as (judge, url):
        tables = [asked(every, url, tmp_path, concurrency=1) for _ in range(2)]
    assert tables[0].equals(tables[1]) and list(tables[0].verdict).count("rejected") == 6
    assert judge.asked.total() == len(every) + 6


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the key in THE_KEY"),
        (403, "THE_KEY"),
        (404, "correct judge.url or"),
        (302, "url"),
    ],
)
def test_what_no_further_attempt_cures_ends_at_once(status, said, tmp_path, monkeypatch):
    monkeypatch.setitem(FAULTS, "hopeless", (status, f"no: Bearer {KEY}", {}))
    server = judge_server(fault=lambda body, n: "hopeless")
    with server as (judge, url), pytest.raises(UserError, match=said) as raised:
        asked(wanted(40), url, tmp_path, key=KEY, key_variable="THE_KEY", concurrency=1)
    assert KEY not in str(raised.value) and judge.asked.total() < 5


def test_a_wait_of_hours_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setitem(FAULTS, "tomorrow", (429, "", {"Retry-After": "80000"}))
    server = judge_server(fault=lambda body, n: "tomorrow")
    said = "asks to wait 80,000 s; run Snakemake again"
    with server as (_, url), pytest.raises(UserError, match=said):
        asked(wanted(3), url, tmp_path)


def test_a_wait_that_the_server_asks_for_is_kept_by_all_threads(monkeypatch):
    monkeypatch.setitem(FAULTS, "wait", (429, "", {"Retry-After": "50"}))
    first, other = wanted(2)[:2]
    with judge_server(fault=lambda body, n: "wait" if n == 1 else None) as (judge, url):
        server, paused = server_at(url), []
        server._pause = paused.append  # and nobody waits
        server.ask(first)
        judge.fault = lambda body, n: None
        server.ask(other)
    assert paused[0] < 0 and all(40 < seconds <= 50 for seconds in paused[1:]), paused


def test_a_response_that_drips_or_never_ends_is_given_up(monkeypatch):
    """A byte at a time keeps the connection alive, and an endless body fills the memory."""

    def body():
        for _ in range(10**5):
            yield b" "

    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=body()))
    (question, *_) = wanted(2)
    limits = {"time-out": (0.05, 10**9), "more than 1,000 bytes": (60.0, 1000)}
    for said, (timeout, most) in limits.items():
        monkeypatch.setattr(chat, "MOST_BYTES", most)
        with pytest.raises(Fault, match=said):
            server_at("http://host/v1", attempts=1, transport=transport, timeout=timeout).ask(
                question
            )


def test_a_dated_name_of_the_model_is_the_model(tmp_path, monkeypatch):
    dated = json.loads(json.dumps(FAULTS["slow"][1])) | {"model": f"{MODEL}-2026-08-06"}
    monkeypatch.setitem(FAULTS, "dated", (200, dated, {}))
    with judge_server(fault=lambda body, n: "dated") as (_, url):
        table = asked(wanted(2), url, tmp_path)
    assert set(table.model) == {f"{MODEL}-2026-08-06"} and set(table.verdict) == {"first"}


@pytest.mark.parametrize("change", [{"temperature": 0.6}, {"model": "b"}, {"seed": 4}])
def test_another_request_is_another_question(change):
    first, other = wanted(4), wanted(4, **change)
    assert not {each.key for each in first} & {each.key for each in other}


def test_a_torn_last_line_is_dropped_and_any_other_is_named(tmp_path):
    path = tmp_path / "answers.jsonl"
    row = Answer(
        key="k", verdict="tie", answer="ü\n", model="m", attempts=1, prompt_tokens=1,
        completion_tokens=1,
    )  # fmt: skip
    with opened(path) as file:
        file.add(row)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    with opened(path) as file:
        assert file.known == {"k": row}
        file.add(row.model_copy(update={"key": "l"}))
    with opened(path) as file:
        assert set(file.known) == {"k", "l"}
        with pytest.raises(UserError, match="another process"), opened(path):
            pass
    path.write_bytes(whole[:20] + b"\n" + whole)
    with pytest.raises(UserError, match="answers.jsonl: line 1 is no answer"), opened(path):
        pass


# The script as a process of its own.


def command(folder, url, **changes):
    server = {"url": url, "api_key_variable": "TEST_JUDGE_KEY", "concurrency": 8}
    server |= {"timeout": 60, "attempts": 12, "backoff": 0.01}
    options = {
        "comparisons": folder / "comparisons.parquet",
        "posts": folder / "posts.parquet",
        "prompt": PROMPT,
        "request": json.dumps(REQUEST),
        "answers": 5,
        "server": json.dumps(server),
        "answer_file": folder / "answers.jsonl",
        "output": folder / "answers.parquet",
        "log": folder / "logs/ask_judge.log",
    } | changes
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [sys.executable, str(ROOT / "scripts/ask_judge.py"), *given]


def start(folder, url):
    environment = {**os.environ, "TEST_JUDGE_KEY": KEY}
    return subprocess.Popen(
        command(folder, url), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def put_inputs(folder, posts):
    table = comparisons(posts)
    write_table(table, folder / "comparisons.parquet", COMPARISONS)
    write_table(posts_of(table), folder / "posts.parquet", POSTS)


def lines_of(folder):
    path = folder / "answers.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def test_2000_questions_with_faults_and_two_kills(tmp_path):
    """200 pairs, 10 % faults; killed twice with -9: every answer is accounted for, and no question
    that has one is asked again."""
    put_inputs(tmp_path, 201)
    kinds = [kind for kind in FAULTS if kind not in ("slow", "rejected")]

    def fault(body, n):
        share = share_of(body, f"{n}")
        return kinds[int(share * 1e6) % len(kinds)] if share < 0.1 else None

    def answer(body):
        return "Verdict: " + ("A", "B", "tie")[int(share_of(body, str(body["seed"])) * 3)]

    with judge_server(answer, fault) as (judge, url):
        printed = b""
        for number in (300, 900):
            process = start(tmp_path, url)
            while len(lines_of(tmp_path)) < number:
                assert process.poll() is None, process.communicate()
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            printed += process.communicate()[0]
            assert not (tmp_path / "answers.parquet").exists()
            stored = {json.loads(line)["key"] for line in lines_of(tmp_path)[:number]}
            before = len(judge.bodies)
        process = start(tmp_path, url)
        printed += process.communicate()[0]
        assert process.returncode == 0, printed
    table = read_table(tmp_path / "answers.parquet", ANSWERS)
    assert len(table) == 2000 and table.key.nunique() == 2000
    assert set(table.verdict) == {"first", "second", "tie"}
    # The answer that is stored is the one that was sent: nothing is mixed up.
    meaning = {"Verdict: A": "first", "Verdict: B": "second", "Verdict: tie": "tie"}
    asked_last = map(Question.body, wanted(201, answers=5), table.attempts)
    assert table.verdict.tolist() == [meaning[answer(body)] for body in asked_last]
    # At most those in flight at a kill were answered twice.
    assert judge.answered.total() - 2000 <= 2 * 8
    of_stored = {each.key: each for each in wanted(201, answers=5) if each.key in stored}
    again = {body["seed"] for body in judge.bodies[before:]}
    seeds = {q.body(attempt)["seed"] for q in of_stored.values() for attempt in range(1, 13)}
    assert len(of_stored) == 900 and not again & seeds
    assert sum(judge.faults.values()) > 100 and judge.keys == {f"Bearer {KEY}"}
    # The key is nowhere.
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 5 and not any(KEY.encode() in path.read_bytes() for path in files)
    assert KEY.encode() not in printed and b"faults, after which" in printed


@pytest.mark.parametrize(("key", "said"), [(None, "is not set"), ("sk-a\nb", "is no key")])
def test_a_key_that_is_none_is_named_by_its_variable(key, said, tmp_path):
    put_inputs(tmp_path, 3)
    environment = {name: value for name, value in os.environ.items() if name != "TEST_JUDGE_KEY"}
    environment |= {"TEST_JUDGE_KEY": key} if key else {}
    done = subprocess.run(
        command(tmp_path, "http://127.0.0.1:9/v1"), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and "sk-a" not in done.stderr
    assert "TEST_JUDGE_KEY" in done.stderr and said in done.stderr
