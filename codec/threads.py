"""The number of threads of a call: as many as there are free cores, and one in a forked process.

A network runs thousands of short loops, and at the end of each all threads wait for the last one. If another program
computes on a core, the thread on that core delays the others in every loop, and a call can take ten times as long.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

LOAD = Path("/proc/loadavg")  # Linux: "0.20 0.18 0.12 3/91 4711", of which 3 threads run or wait for a core
TASKS = Path("/proc/self/task")
SAMPLES, PAUSE = 5, 0.001  # of the load before fewer threads are taken, and the seconds between two


class _OfThread(threading.local):
    """The maximum number of threads of the call in this thread, None outside of calls."""

    maximum: int | None = None


class _State:
    """The state of the process: the number of running calls, and whether it is a fork of one with torch loaded."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls = 0
        self.forked = False

    def in_child(self) -> None:
        """Reset in a forked process, in which the calls of other threads do not exist."""
        self.lock = threading.Lock()
        self.calls = 0
        self.forked = self.forked or "torch" in sys.modules


_thread, _process = _OfThread(), _State()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.in_child)


@contextmanager
def threads_of_call() -> Iterator[None]:
    """The context of a call: sets threads by `fit_threads`, and restores their number at the end."""
    import torch

    if _thread.maximum is not None:  # within another call
        yield
        return
    before = _thread.maximum = torch.get_num_threads()
    with _process.lock:
        _process.calls += 1
    try:
        fit_threads()
        yield
    finally:
        _thread.maximum = None
        with _process.lock:
            _process.calls = max(0, _process.calls - 1)
        set_threads(before)


def fit_threads() -> None:
    """Set the threads of the call in this thread: an equal part of the free cores for each running call, at most the
    number that was set before the call. To be called for each piece of a picture.

    A forked process gets one thread: OpenMP would wait for the threads of its parent, which do not exist in it.
    """
    if _thread.maximum is None or _thread.maximum == 1:
        return
    part = free_cores(_thread.maximum) // max(1, _process.calls) if not _process.forked else 1
    set_threads(min(_thread.maximum, max(1, part)))


def set_threads(threads: int) -> None:
    """`torch.set_num_threads` for this thread alone: the number for threads that start later is kept."""
    import torch

    if threads == torch.get_num_threads():
        return
    with _process.lock:
        default: list[int] = []
        _in_new_thread(lambda: default.append(torch.get_num_threads()))
        torch.set_num_threads(threads)
        _in_new_thread(lambda: torch.set_num_threads(default[0]))


def in_threads(work: Callable[[int], None], items: Sequence[int]) -> None:
    """Do the work for each item, in as many threads as torch uses in this one, each of which computes by itself: where
    one waits for a core, the others go on."""
    import torch

    count = min(torch.get_num_threads(), len(items))
    if count < 2:
        for item in items:
            work(item)
        return
    inference = torch.is_inference_mode_enabled()

    def by_itself(item: int) -> None:
        with torch.inference_mode(inference), torch.set_grad_enabled(False):
            work(item)

    with ThreadPoolExecutor(count, initializer=set_threads, initargs=(1,)) as pool:
        for _ in pool.map(by_itself, items):
            pass


def _in_new_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def free_cores(enough: int) -> int:
    """The number of cores without a computing thread of another process, at least 1; all cores if it is unknown.

    It is the maximum of several samples; sampling stops when `enough` cores are free.
    """
    cores = os.cpu_count() or 1
    free = 1
    for sample in range(SAMPLES):
        free = max(free, cores - _running_elsewhere(cores - enough))
        if free >= enough:
            break
        if sample < SAMPLES - 1:
            time.sleep(PAUSE)
    return free


def _running_elsewhere(ignored: int) -> int:
    """The number of threads of other processes that run or wait for a core, 0 if it is unknown. Up to `ignored` running
    threads besides this one are not assigned to processes."""
    try:
        running = int(LOAD.read_text().split()[3].split("/")[0])
        return max(0, running - (1 if running - 1 <= ignored else sum(map(_runs, TASKS.iterdir()))))
    except (OSError, ValueError, IndexError):
        return 0


def _runs(task: Path) -> bool:
    """Whether a thread runs or waits for a core."""
    try:
        return (task / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"R"
    except (OSError, IndexError):  # it has ended
        return False
