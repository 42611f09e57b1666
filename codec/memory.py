"""How a process of lapic's own deals with memory."""

import ctypes
import gc
import sys
from collections.abc import Callable

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8  # of mallopt(3)
GIB = 2**30
NEW_OBJECTS = 10_000  # between two searches for cycles; Python's own is 700


def keep_freed_memory() -> None:
    """Tell glibc to keep large blocks that are freed, for the next layer of a network wants as much again: getting them
    anew from the system, page by page, takes a sixth to a quarter of the time of a decode. For the process of the
    command and its workers; a library has no business to decide this for its host. Does nothing without glibc."""
    mallopt = _of_glibc("mallopt")
    mallopt(MMAP_THRESHOLD, GIB)
    mallopt(TRIM_THRESHOLD, GIB)
    mallopt(TOP_PAD, GIB // 16)
    mallopt(ARENA_MAX, 2)  # each of many threads would keep a store of its own


def collect_seldom() -> None:
    """Let Python search for unreachable cycles of objects a fourteenth as often: while PyTorch is imported there are
    none, and the search takes a seventh of the time. For processes as those of `keep_freed_memory`."""
    gc.set_threshold(NEW_OBJECTS)


def give_back_freed_memory() -> None:
    """Let glibc return to the system what is free: what one row of pieces leaves behind never quite fits the next, and
    from row to row a process would grow, by a gigabyte and more in all. Does nothing without glibc."""
    _of_glibc("malloc_trim")(0)


def _of_glibc(name: str) -> Callable[..., object]:
    """A function of glibc, one that does nothing where there is none."""
    if sys.platform != "linux":
        return lambda *_: None
    try:
        return getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return lambda *_: None
