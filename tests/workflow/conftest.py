"""What several tests of real runs share."""

import pytest
from workflow import SMOKE, copy_repository, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished smoke experiment; taken from the repository if it has just been run there."""
    folder = copy_repository(tmp_path_factory.mktemp("finished"), "results/smoke", ".snakemake")
    done = snakemake(folder, *SMOKE)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
