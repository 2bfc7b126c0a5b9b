"""A stage as a command: real processes, their exit status, their terminal and their log."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict, Unpack

import pytest

import underspec
from underspec.command import arguments
from underspec.config import sections
from underspec.errors import ConfigError

SCRIPT = '''
import json
import logging
from pathlib import Path

from typing import Annotated

from underspec.config import sections
from underspec.command import command
from underspec.errors import ArtifactError

log = logging.getLogger("underspec.stage")


def stage(
    *,
    mood: str,
    output: Path,
    steps: int = 3,
    recipe: dict = {},
    names: list[str] = [],
    more: list[Path] | None = None,
    lengths: Annotated[dict, sections.Lengths] = {},
    seed: sections.Seed = 0,
):
    """Do a small thing for a test."""
    log.info("in mood %s", mood)
    log.debug("a detail")
    if mood == "wrong":
        raise ArtifactError("results/posts.parquet: no such file")
    if mood == "broken":
        raise ZeroDivisionError("nobody expected this")
    if mood == "missing":
        Path("nowhere/posts.txt").read_text()
    if mood == "full":
        Path("/dev/full").write_text("x" * 10**6)
    if mood == "stopped":
        raise SystemExit(143)
    output.write_text(json.dumps([steps, recipe, names]))


if __name__ == "__main__":
    command(stage)
'''

FINE = ("--mood", "fine", "--output", "out.json")


@pytest.fixture
def run(tmp_path):
    (tmp_path / "stage.py").write_text(SCRIPT)

    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, str(tmp_path / "stage.py"), *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(underspec.__file__).parents[1]),
                **environment,
            },
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


def test_a_run_has_only_warnings_on_the_terminal(run, tmp_path):
    quiet = {"UNDERSPEC_TERMINAL": "WARNING"}
    assert run(*FINE, "--log", "stage.log", **quiet).stderr == ""
    assert "in mood fine" in (tmp_path / "stage.log").read_text()
    wrong = run("--mood", "wrong", "--output", "out.json", "--log", "stage.log", **quiet)
    assert wrong.stderr == "[stage] results/posts.parquet: no such file\n"


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


WRONG = {
    # what is wrong, what stands in the line
    "missing": (("--output", "out.json"), "required: --mood"),
    "no number": (FINE + ("--steps", "many"), "--steps: 'many' is not allowed"),
    "unknown": (FINE + ("--colour", "red"), "unrecognized arguments: --colour red"),
    "without a value": (FINE + ("--steps",), "--steps: expected one argument"),
    "shortened": (FINE + ("--step", "3"), "unrecognized arguments: --step 3"),
    "cut JSON": (FINE + ("--recipe", '{"a": 1'), "--recipe: not JSON (Expecting"),
    "a key twice": (FINE + ("--recipe", '{"a": {"b": 1, "b": 2}}'), "the key b is there twice"),
    "nested too deep": (FINE + ("--names", "[" * 10**5), "--names: not JSON (nested too deep)"),
    "a list for a map": (FINE + ("--recipe", "[1]"), "--recipe: [1] is not allowed"),
    "a map for a list": (FINE + ("--names", "{}"), "--names: "),
    "null for a map": (FINE + ("--recipe", "null"), "--recipe: None is not allowed"),
    "a number for a name": (FINE + ("--names", '["a", 7]'), "--names.1: 7 is not allowed"),
    "a key too few": (FINE + ("--lengths", '{"post": 3}'), "--lengths.summary: missing"),
    "a key too many": (
        FINE + ("--lengths", '{"post": 3, "summary": 3, "reply": 3}'),
        "--lengths.reply: no such key",
    ),
    "a value that cannot be": (
        FINE + ("--lengths", '{"post": 1, "summary": 3}'),
        "--lengths.post: 1 is not allowed: input should be greater than or equal to 2",
    ),
    "a number below its bounds": (FINE + ("--seed", "-1"), "--seed: '-1' is not allowed"),
    "a number above its bounds": (FINE + ("--seed", str(2**64)), "--seed: "),
    "no seed": (FINE + ("--seed", "1.5"), "--seed: '1.5' is not allowed"),
}


@pytest.mark.parametrize(("options", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_option_is_one_line_here_and_in_the_log(run, tmp_path, options, said):
    result = run(*options, "--log", "logs/job/1.log")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("[job/1] ") and said in line
    logged = (tmp_path / "logs/job/1.log").read_text()
    assert line.removeprefix("[job/1] ") in logged and "Traceback" not in logged
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (("--log",), "--log: expected one"),
        (("--log", "stage.py/stage.log"), "stage.py: file exists"),
    ],
)
def test_a_log_that_cannot_be_is_one_line(run, log, said):
    result = run(*FINE, *log)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("[stage] ") and said in line


def test_a_map_is_checked_by_its_section_and_arrives_as_a_map():
    def stage(*, lengths: Annotated[dict, sections.Lengths], paths: list[Path] | None = None):
        pass

    given = ["--lengths", '{"post": "64", "summary": 40}']
    assert arguments(stage, given) == {"lengths": {"post": 64, "summary": 40}}
    given += ["--paths", '["a/b"]']
    assert arguments(stage, given)["paths"] == [Path("a/b")]


def test_a_map_that_may_be_left_out_is_checked_by_its_section_too():
    def stage(*, lengths: Annotated[dict, sections.Lengths] | None = None):
        pass

    assert arguments(stage, []) == {}
    given = ["--lengths", '{"post": "64", "summary": 40}']
    assert arguments(stage, given) == {"lengths": {"post": 64, "summary": 40}}
    with pytest.raises(ConfigError, match="--lengths.*summary: missing"):
        arguments(stage, ["--lengths", '{"post": 64}'])


class Shared(TypedDict):
    """where: of all stages."""

    where: Path
    seeds: NotRequired[list[int]]


def test_stages_can_share_options(capsys):
    def stage(*, mood: str, **shared: Unpack[Shared]):
        """mood: of this one."""

    given = ["--mood", "fine", "--where", "a/b"]
    assert arguments(stage, given) == {"mood": "fine", "where": Path("a/b")}
    assert arguments(stage, [*given, "--seeds", "[1, 2]"])["seeds"] == [1, 2]
    with pytest.raises(ConfigError, match="required: --where"):
        arguments(stage, ["--mood", "fine"])
    with pytest.raises(ConfigError, match="--seeds.0: 'x' is not allowed"):
        arguments(stage, [*given, "--seeds", '["x"]'])
    with pytest.raises(SystemExit):
        arguments(stage, ["--help"])
    assert "mood: of this one. where: of all stages." in capsys.readouterr().out


def test_a_missing_file_is_one_line_and_its_traceback_is_in_the_log(run, tmp_path):
    result = run("--mood", "missing", "--output", "out.json", "--log", "stage.log")
    assert result.returncode == 1
    assert result.stderr.splitlines()[1:] == [
        "[stage] nowhere/posts.txt: no such file or directory; correct its path, or let Snakemake "
        "make it first"
    ]
    assert "Traceback" in (tmp_path / "stage.log").read_text()
    assert "Traceback" not in run("--mood", "missing", "--output", "out.json").stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_one_line(run, tmp_path):
    result = run("--mood", "full", "--output", "out.json", "--log", "stage.log")
    assert result.returncode == 1
    assert result.stderr.splitlines()[1:] == [
        "[stage] no space left on device; free space on that disk, then run Snakemake again"
    ]
