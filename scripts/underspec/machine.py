"""The machine that a process runs on. Trainings import this, so changing this code reruns them."""

import platform
import re
from pathlib import Path


def processor() -> str:
    """The model name of the CPU."""
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
