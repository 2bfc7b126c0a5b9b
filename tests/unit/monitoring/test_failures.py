"""The cause of a failed job is found in what it left behind, in the words of those who wrote it."""

import pytest

from underspec.monitoring.failures import cause

PROGRESS = "2026-11-26 15:09:09,120 INFO underspec.training.loop: step 400 of 2,000\n"
WRONG = "2026-11-26 15:09:14,006 ERROR underspec.command: samples.parquet: column text is missing\n"
SLURM = """\
[Thu Nov 26 15:09:18 2026]
rule pretrain:
    output: results/smoke/pretrain/base/seed0
[pretrain base seed 0] {labelled}
{system}
RuleException:
CalledProcessError in file "/home/me/rules/pretrain.smk", line 37:
Command 'python scripts/pretrain.py' {status}.
[Thu Nov 26 15:09:18 2026]
Error in rule pretrain:
    message: None
Exiting because a job execution failed. Look above for error messages
WorkflowError:
At least one job did not complete successfully.
srun: error: node1: task 0: Exited with exit code 1
"""
FAILED = "SLURM-job '12' failed, SLURM status is: '{}'. Detailed failure reason unavailable"


def slurm_log(labelled="step 400 of 2,000", system="", status="returned non-zero exit status 1"):
    return SLURM.format(labelled=labelled, system=system, status=status)


@pytest.mark.parametrize(
    ("own", "slurm", "said", "found", "where"),
    [
        (PROGRESS + WRONG, slurm_log(), "FAILED", "samples.parquet: column text is missing", "own"),
        (PROGRESS, slurm_log(), FAILED.format("OUT_OF_MEMORY"), "out of memory", None),
        (PROGRESS, slurm_log(), FAILED.format("TIMEOUT"), "time limit reached", None),
        (PROGRESS + WRONG, slurm_log(), FAILED.format("NODE_FAIL"), "its node failed", None),
        (
            PROGRESS,
            slurm_log(system="slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.0."),
            FAILED.format("FAILED"),
            "out of memory",
            "slurm",
        ),
        (
            "",  # on a disk that is full the log of the stage is empty
            slurm_log("unexpected error in score: OSError: [Errno 28] No space left on device"),
            FAILED.format("FAILED"),
            "unexpected error in score: OSError: [Errno 28] No space left on device",
            "slurm",
        ),
        (
            None,
            slurm_log(system="bash: line 1: python: command not found"),
            FAILED.format("FAILED"),
            "bash: line 1: python: command not found",
            "slurm",
        ),
        (  # the second process of a training; its launcher names no cause
            PROGRESS,
            slurm_log(system="KeyError: 'text'\ntorch.distributed.errors.ChildFailedError: \n==="),
            FAILED.format("FAILED"),
            "KeyError: 'text'",
            "slurm",
        ),
        ("Traceback\n  x\nKeyError: 'table'\n", None, "", "KeyError: 'table'", "own"),
        (
            PROGRESS,
            slurm_log(status="died with <Signals.SIGKILL: 9>"),
            "",
            "killed (SIGKILL)",
            "slurm",
        ),
        (PROGRESS, slurm_log("samples end at 3"), "", "samples end at 3", "slurm"),
        (
            "some tool of yours gave up\n\n",
            None,
            "",
            "its log ends with: some tool of yours gave up",
            "own",
        ),
        (None, None, "Command 'x' returned non-zero exit status 127.", "exit status 127", None),
        (None, None, "", "unknown cause", None),
        (
            None,
            None,
            "SLURM sbatch failed. The error message was 'sbatch: error: invalid partition'.",
            "sbatch: error: invalid partition",
            None,
        ),
    ],
)
def test_the_most_telling_line(tmp_path, own, slurm, said, found, where):
    logs = {"own": tmp_path / "own.log", "slurm": tmp_path / "12.log"}
    for name, text in (("own", own), ("slurm", slurm)):
        if text is not None:
            logs[name].write_text(text)
    explained = cause(logs.values(), said)
    assert explained.text == found
    assert explained.log == logs.get(where)


def test_a_kill_while_the_machine_runs_out_of_memory_is_called_that(tmp_path):
    said = "Command 'python scripts/score.py' died with <Signals.SIGKILL: 9>."
    assert cause([], said, out_of_memory=True).text == "out of memory"
    assert cause([], said).text == "killed (SIGKILL)"


def test_bytes_that_are_no_text_do_not_hide_the_cause(tmp_path):
    path = tmp_path / "own.log"
    path.write_bytes(b"\xff\xfe\n" + WRONG.encode())
    assert cause([path], "").text == "samples.parquet: column text is missing"
