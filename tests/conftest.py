"""Hypothesis for all tests: no deadlines, since machines differ; the same examples on every run
where CI is set.
"""

import os

from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("project")
