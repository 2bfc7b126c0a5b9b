"""What is said of jobs that wait in Slurm's queue. The queue itself is read in tests/slurm."""

import pytest

from underspec.monitoring.slurm_queue import Queued, advice


@pytest.mark.parametrize(
    ("reason", "cure"),
    [
        ("PartitionTimeLimit", "scontrol update jobid=12 timelimit=MINUTES"),
        ("QOSMaxWallDurationPerJobLimit", "scontrol update jobid=12 timelimit=MINUTES"),
        ("JobHeldUser", "scontrol release 12"),
        ("JobHeldAdmin", "scontrol release 12"),
        ("launch failed requeued held", "scontrol release 12"),
        ("BadConstraints", "scontrol show job 12"),
        ("AssocMaxGRESPerJob", "scontrol show job 12"),
        ("QOSMinGRES", "scontrol show job 12"),
    ],
)
def test_a_reason_that_will_not_pass_has_a_cure(reason, cure):
    said = advice(Queued("12", "PENDING", reason, "pretrain_xl_0"))
    assert said.startswith(f"pretrain_xl_0 waits in vain (Slurm job 12: {reason}): ")
    assert cure in said


@pytest.mark.parametrize(
    "reason",
    ["None", "Priority", "Resources", "BeginTime", "Dependency", "QOSMaxJobsPerUserLimit"]
    + ["AssocGrpCpuLimit", "ReqNodeNotAvail, UnavailableNodes:node1", "Licenses"],
)
def test_a_reason_that_passes_is_not_mentioned(reason):
    assert not advice(Queued("12", "PENDING", reason, "pretrain_xl_0"))
    assert not advice(Queued("12", "RUNNING", "PartitionTimeLimit", "pretrain_xl_0"))
