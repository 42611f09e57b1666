"""How many threads a call takes: as many as there are free cores, and one in a forked process.

A network is thousands of short loops, at whose ends all threads wait for the last one. One that waits for a core,
beside another program that computes, holds up the others each time, and a call would take ten times as long.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOAD = Path("/proc/loadavg")  # Linux: "0.20 0.18 0.12 3/91 4711", of which 3 threads run or wait for a core
TASKS = Path("/proc/self/task")
LOOKS, PAUSE = 5, 0.001  # how often to look before fewer threads are taken, and the seconds between


class _OfThread(threading.local):
    """The most threads that the call which goes on in this thread may take, None if none does."""

    most: int | None = None


class _State:
    """What holds for the process: how many calls go on, and whether it is a fork of one that had torch loaded."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls = 0
        self.forked = False

    def in_child(self) -> None:
        """In a forked process, where other threads' calls do not go on."""
        self.lock = threading.Lock()
        self.calls = 0
        self.forked = self.forked or "torch" in sys.modules


_here, _process = _OfThread(), _State()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.in_child)


@contextmanager
def threads_of_call() -> Iterator[None]:
    """While a call goes on, which takes as many threads as `fit_threads` says; then as many as before are set again."""
    import torch

    if _here.most is not None:  # within another call
        yield
        return
    before = _here.most = torch.get_num_threads()
    with _process.lock:
        _process.calls += 1
    try:
        fit_threads()
        yield
    finally:
        _here.most = None
        with _process.lock:
            _process.calls = max(0, _process.calls - 1)
        set_threads(before)


def fit_threads() -> None:
    """Let the call that goes on in this thread take its share of the free cores, but no more threads than it found.
    To be called for each piece of a picture. The threads of a forked process' parent are not there, but OpenMP would
    wait for them: one does without."""
    if _here.most is None or _here.most == 1:
        return
    set_threads(1 if _process.forked else min(_here.most, max(1, free_cores(_here.most) // max(1, _process.calls))))


def set_threads(threads: int) -> None:
    """`torch.set_num_threads`, for this thread alone: what threads get that begin later stays as it is."""
    import torch

    if threads == torch.get_num_threads():
        return
    with _process.lock:
        later: list[int] = []
        _in_new_thread(lambda: later.append(torch.get_num_threads()))
        torch.set_num_threads(threads)
        _in_new_thread(lambda: torch.set_num_threads(later[0]))


def _in_new_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def free_cores(enough: int) -> int:
    """Cores that no other process computes on now, at least 1; all of them where that cannot be told.

    Other processes must be seen to compute each of several times, unless `enough` cores are free before.
    """
    cores = os.cpu_count() or 1
    free = 1
    for look in range(LOOKS):
        free = max(free, cores - _computing_elsewhere(cores - enough))
        if free >= enough:
            break
        if look < LOOKS - 1:
            time.sleep(PAUSE)
    return free


def _computing_elsewhere(few: int) -> int:
    """How many threads of other processes run or wait for a core; 0 where that cannot be told. If all threads but this
    one are no more than a `few`, they are not told apart."""
    try:
        running = int(LOAD.read_text().split()[3].split("/")[0])
        return max(0, running - (1 if running - 1 <= few else sum(map(_runs, TASKS.iterdir()))))
    except (OSError, ValueError, IndexError):
        return 0


def _runs(task: Path) -> bool:
    """Whether a thread runs or waits for a core."""
    try:
        return (task / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"R"
    except (OSError, IndexError):  # it has ended
        return False
