"""The check itself, on this CPU: what it needs, and that no part can take the others with it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import check
import pytest
import setting
from setting import Finding, at_least, at_most

CHECK = Path(__file__).with_name("check.py")
# What a bare GPU machine may lack; compiling takes a minute here and is left to `make gpu-check`.
ABSENT = ("snakemake", "pydantic", "datasets", "papermill", "matplotlib")
QUICK = ("training step", "last token", "sampler", "scoring", "decoder scoring", "resuming")
QUICK += ("sampling, large",)


def run(*arguments, without=()):
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({without!r})); "
        f"sys.argv = ['check.py', *{arguments!r}]; "
        f"sys.path.insert(0, {str(CHECK.parent)!r}); runpy.run_path('{CHECK}', run_name='__main__')"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )


def test_every_quick_part_runs_with_the_packages_it_names(tmp_path):
    done = run("--device", "cpu", "--output", str(tmp_path), "--parts", *QUICK, without=ABSENT)
    assert done.returncode == 0, done.stdout + done.stderr
    page = json.loads((tmp_path / "page.json").read_text())
    assert list(page["parts"]) == list(QUICK)
    assert {part["verdict"] for part in page["parts"].values()} == {"ok"}
    assert all(part["found"] for part in page["parts"].values())
    assert (tmp_path / "page.txt").read_text() == done.stdout
    assert "7 of 7 parts ok" in done.stdout


def test_a_part_that_does_not_exist_is_refused_by_name(tmp_path):
    done = run("--device", "cpu", "--output", str(tmp_path), "--parts", "sampling, xl")
    assert done.returncode == 2
    assert "no such part: sampling, xl; there are" in done.stderr


def test_parts_that_cannot_begin_in_time_are_named_and_fail_the_check(tmp_path):
    done = run("--device", "cpu", "--output", str(tmp_path), "--parts", "scoring", "--seconds", "0")
    assert done.returncode == 1
    assert "not begun: the time for all parts is up" in done.stdout
    assert "FAILED: scoring" in done.stdout


def test_without_a_gpu_it_says_what_to_do(tmp_path):
    done = run("--output", str(tmp_path))
    assert done.returncode == 2
    assert "no GPU that torch" in done.stderr and "--device cpu" in done.stderr


def test_a_package_that_is_missing_is_named(tmp_path):
    done = run("--device", "cpu", "--output", str(tmp_path), without=("accelerate", "tokenizers"))
    assert done.returncode == 2
    assert "not installed: accelerate, tokenizers" in done.stderr


def crashing(chosen):
    """Is killed."""
    yield Finding("first", 1.0)
    os.kill(os.getpid(), signal.SIGKILL)


def raising(chosen):
    """Raises."""
    yield Finding("first", 1.0)
    raise ValueError("the cause")


def hanging(chosen):
    """Never ends, and does not listen to a polite signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield Finding("first", 1.0)
    time.sleep(1000)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (crashing, "exit status -9"),
        (raising, "ValueError: the cause"),
        (hanging, "ended at its limit of 6 s"),
    ],
)
def test_what_a_part_found_before_it_failed_is_kept(tmp_path, part, said):
    found, seconds, problem = check.outcome(part, setting.ON_CPU, 6, tmp_path, "a, part")
    assert [each["name"] for each in found] == ["first"]
    assert said in problem
    page = check.Page(tmp_path, {})
    page.add("a, part", part.__doc__, found, seconds, problem)
    assert page.failed
    assert json.loads((tmp_path / "page.json").read_text())["parts"]["a, part"]["found"] == found


def test_a_failed_check_fails_the_page_and_a_slow_part_does_not(tmp_path):
    for finding, failed in (
        (at_most("error", 2.0, 1.0), True),
        (at_most("error", float("nan"), 1.0), True),
        (at_least("share", 0.5, 0.9), True),
        (at_most("error", 1.0, 1.0), False),
        (setting.aim("speed", 1.0, 5.0), False),
        (setting.aim("speed", None, 5.0), False),
    ):
        page = check.Page(tmp_path, {})
        page.add("part", "", [finding._asdict()], 1.0, None)
        assert page.failed is failed, finding
