import shutil
import tempfile
from pathlib import Path

import pytest
from cluster import Cluster, missing


@pytest.fixture(scope="session")
def cluster():
    """A running cluster. Its state folder is not pytest's, whose paths are too long for sockets."""
    if reason := missing():
        pytest.skip(reason)
    started = Cluster(Path(tempfile.mkdtemp(prefix="slurm-")))
    try:
        started.start()
        yield started
    finally:
        started.stop()
        shutil.rmtree(started.state, ignore_errors=True)
