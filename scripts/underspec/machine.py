"""The machine that a process runs on. Trainings import this: another line here runs them again."""

import platform
import re
from pathlib import Path


def processor() -> str:
    """The model name of the CPU, as the system knows it."""
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
