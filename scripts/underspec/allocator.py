"""Tunes glibc's memory allocator for this process."""

import ctypes

# Options of glibc's mallopt: the free memory at the end of the heap that is returned to the system,
# and the number of allocations with a mapping of their own.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep freed memory for the next tensor instead of returning it to the system.

    By default, glibc returns the memory of each freed tensor of a megabyte or more, and the next
    tensor has to be mapped and zeroed page by page. This takes up to a third of a small model's CPU
    time. With another C library, this function does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, NEVER)
        mallopt(MMAP_MAX, 0)
