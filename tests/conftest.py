"""What holds for all tests.

Hypothesis has no deadlines, since machines differ, and draws the same examples each time where CI
is set. Without a GPU, Triton interprets its kernels, which it must know before it is imported.
"""

import os

import numpy as np
import pytest
import torch
from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("project")
torch.set_num_threads(1)  # as in jobs: with more, results depend on the rest of a batch
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def the_same_random_numbers_whatever_ran_before(request):
    """PyTorch's, and those of a module's RNG."""
    torch.manual_seed(0)
    if generator := getattr(request.module, "RNG", None):
        generator.bit_generator.state = np.random.default_rng(0).bit_generator.state
