"""How a process of lapic's own deals with freed memory."""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3)
GIB = 2**30


def keep_freed_memory() -> None:
    """Tell glibc to keep large blocks that are freed, for the next layer of a network wants as much again: getting them
    anew from the system, page by page, takes a sixth to a quarter of the time of a decode. For the process of the
    command and its workers; a library has no business to decide this for its host. Does nothing without glibc."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(MMAP_THRESHOLD, GIB)
    mallopt(TRIM_THRESHOLD, GIB)
    mallopt(TOP_PAD, GIB // 16)
