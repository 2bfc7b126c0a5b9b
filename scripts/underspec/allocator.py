"""How this process treats memory that it has freed."""

import ctypes

# Options of glibc's mallopt: how much free memory at the end of the heap is too much, and how many
# tensors may have a mapping of their own.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep freed memory for the next tensor and do not give it back to the system at once.

    By default glibc returns each freed tensor of a megabyte, and the next one of that size has to
    be mapped and zeroed page by page: up to a third of the CPU time of a small model. Does nothing
    where the C library is another one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, NEVER)
        mallopt(MMAP_MAX, 0)
