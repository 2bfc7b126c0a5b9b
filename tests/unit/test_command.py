"""A stage as a command: real processes, their exit status, their terminal and their log."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import underspec

SCRIPT = '''
import json
import logging
from pathlib import Path

from underspec.command import command
from underspec.errors import ArtifactError

log = logging.getLogger("underspec.stage")


def stage(*, mood: str, output: Path, steps: int = 3, recipe: dict = {}, names: list[str] = []):
    """Do a small thing for a test."""
    log.info("in mood %s", mood)
    log.debug("a detail")
    if mood == "wrong":
        raise ArtifactError("results/posts.parquet: no such file")
    if mood == "broken":
        raise ZeroDivisionError("nobody expected this")
    if mood == "stopped":
        raise SystemExit(143)
    output.write_text(json.dumps([steps, recipe, names]))


if __name__ == "__main__":
    command(stage)
'''


@pytest.fixture
def run(tmp_path):
    (tmp_path / "stage.py").write_text(SCRIPT)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, str(tmp_path / "stage.py"), *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(underspec.__file__).parents[1])},
            capture_output=True,
            text=True,
        )

    return run


def test_arguments_arrive_in_their_types(run, tmp_path):
    result = run(
        *("--mood", "fine", "--output", "out.json", "--steps", "7"),
        *("--recipe", '{"learning_rate": 1e-2, "inner": {"a": [1, 2]}}', "--names", '["x", "y"]'),
        *("--log", "results/x/logs/job/1.log"),
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.json").read_text() == (
        '[7, {"learning_rate": 0.01, "inner": {"a": [1, 2]}}, ["x", "y"]]'
    )
    assert result.stderr == "[job/1] in mood fine\n"
    logged = (tmp_path / "results/x/logs/job/1.log").read_text()
    assert "in mood fine" in logged
    assert "a detail" in logged
    assert "CPU seconds" in logged.splitlines()[-1]


def test_the_user_s_error_is_one_line_here_and_in_the_log(run, tmp_path):
    result = run("--mood", "wrong", "--output", "out.json", "--log", "stage.log")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "[stage] in mood wrong",
        "[stage] results/posts.parquet: no such file",
    ]
    logged = (tmp_path / "stage.log").read_text()
    assert "ERROR" in logged
    assert "results/posts.parquet: no such file" in logged
    assert "Traceback" not in result.stderr + logged
    assert not (tmp_path / "out.json").exists()


def test_an_unexpected_error_leaves_its_traceback_in_the_log(run, tmp_path):
    result = run("--mood", "broken", "--output", "out.json", "--log", "stage.log")
    assert result.returncode == 1
    logged = (tmp_path / "stage.log").read_text()
    assert "unexpected error in stage" in logged
    assert "Traceback" in logged
    assert "ZeroDivisionError: nobody expected this" in logged
    assert result.stderr.splitlines() == [
        "[stage] in mood broken",
        "[stage] unexpected error in stage: ZeroDivisionError: nobody expected this; the traceback "
        "is in stage.log",
    ]
    on_the_terminal = run("--mood", "broken", "--output", "out.json").stderr
    assert "Traceback" in on_the_terminal  # where nothing else has it


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_log_on_a_full_disk_hides_nothing(run):
    result = run("--mood", "wrong", "--output", "out.json", "--log", "/dev/full")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "[stage] in mood wrong",
        "[stage] results/posts.parquet: no such file",
    ]


def test_the_log_of_an_attempt_that_failed_is_kept(run, tmp_path):
    for mood in ("broken", "wrong", "fine", "fine"):
        run("--mood", mood, "--output", "out.json", "--log", "stage.log")
    logs = {path.name: path.read_text() for path in tmp_path.glob("stage.log*")}
    assert sorted(logs) == ["stage.log", "stage.log.1", "stage.log.2"]
    assert "nobody expected this" in logs["stage.log.1"]
    assert "no such file" in logs["stage.log.2"]
    assert "in mood fine" in logs["stage.log"]


def test_the_exit_status_of_a_stopped_stage_is_kept(run):
    assert run("--mood", "stopped", "--output", "out.json").returncode == 143


def test_help_tells_the_stage_and_its_options(run):
    result = run("--help")
    assert result.returncode == 0
    for expected in ("Do a small thing for a test.", "--mood", "--output", "--recipe", "--log"):
        assert expected in result.stdout


@pytest.mark.parametrize(
    "arguments, named",
    [
        (("--output", "out.json"), "mood"),
        (("--mood", "fine", "--output", "out.json", "--steps", "many"), "steps"),
        (("--mood", "fine", "--output", "out.json", "--colour", "red"), "colour"),
    ],
)
def test_wrong_arguments_are_named(run, tmp_path, arguments, named):
    result = run(*arguments)
    assert result.returncode != 0
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out.json").exists()
