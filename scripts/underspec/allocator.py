"""How this process treats memory that it has freed."""

import ctypes

# Options of glibc's mallopt and the most that it accepts for the second.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
NEVER, MOST = 2**31 - 1, 2**25


def keep_freed_memory() -> None:
    """Keep freed memory for the next tensor and do not give it back to the system at once.

    By default glibc returns each freed tensor of a megabyte, and the next one of that size has to
    be mapped and zeroed page by page: up to a third of the CPU time of a small model. Peak memory
    is not higher. Does nothing where the C library is another one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, NEVER)
        mallopt(MMAP_THRESHOLD, MOST)
