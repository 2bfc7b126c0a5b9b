"""What is said of long work while it goes on."""

import logging

import pytest

from underspec.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("underspec.progress.time.monotonic", lambda: now[0])
    return now


def test_a_line_every_few_seconds_and_one_at_the_end(clock, caplog):
    progress = Progress(logging.getLogger("underspec"), total=50, done=10, every=10)
    with caplog.at_level(logging.INFO):
        for done in range(11, 51):
            clock[0] += 1
            progress.show(done, f"{done} of 50")
    assert [record.getMessage() for record in caplog.records] == [
        "20 of 50, 30 s left",
        "30 of 50, 20 s left",
        "40 of 50, 10 s left",
        "50 of 50, 0 s left",
    ]


def test_the_time_left_counts_from_where_this_run_began(clock, caplog):
    progress = Progress(logging.getLogger("underspec"), total=100, done=90, every=1)
    clock[0] += 20
    with caplog.at_level(logging.INFO):
        progress.show(95, "95 of 100")
    assert caplog.messages == ["95 of 100, 20 s left"]
