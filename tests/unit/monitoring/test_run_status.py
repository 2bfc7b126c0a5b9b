"""What is said of the jobs of a run while it goes on."""

import pytest

from underspec.monitoring.run_status import Job, RunStatus, duration


def test_a_rule_is_done_with_its_last_job():
    status = RunStatus({"posts": 1, "pretrain": 2, "all": 1})
    status.start(0, Job("posts", (), 10))
    assert status.finish(0, 12) == "1 of 4 jobs  posts done (2 s)"
    status.start(1, Job("pretrain", ("base", "0"), 12))
    status.start(2, Job("pretrain", ("base", "1"), 20))
    assert status.finish(1, 30) is None
    assert status.outstanding("pretrain") == 1
    assert status.finish(2, 132) == "3 of 4 jobs  pretrain done (2 jobs, 2 min)"


def test_running_jobs_are_named_while_they_are_few():
    status = RunStatus({"pretrain": 10})
    assert status.unfinished(0, "running") is None
    for seed in range(2):
        status.start(seed, Job("pretrain", ("xl", str(seed)), 60 * seed))
    assert status.unfinished(70, "running") == (
        " 0 of 10 jobs  running: pretrain xl 0 (1 min), pretrain xl 1 (10 s)"
    )
    status.start(2, Job("pretrain", ("xl", "2"), 60))
    status.start(3, Job("score", ("xl",), 60))
    assert status.unfinished(70, "queued") == " 0 of 10 jobs  queued: 3 pretrain, 1 score"


def test_a_job_that_failed_does_not_run():
    status = RunStatus({"pretrain": 1})
    status.start(0, Job("pretrain", (), 0))
    status.fail(0)
    assert status.unfinished(1, "running") is None
    status.start(0, Job("pretrain", (), 5))
    assert status.finish(0, 9) == "1 of 1 jobs  pretrain done (9 s)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (59.7, "1 min"),
        (61, "1 min"),
        (3600, "1 h 0 min"),
        (9e4, "25 h 0 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
