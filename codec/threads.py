"""How a call uses the cores: pieces of a picture in threads that compute by themselves, the rest in torch's threads.

A network runs thousands of short loops, and at the end of each all of torch's threads wait for the last one. If another
program computes on a core, the thread on that core delays the others in every loop, and a call can take ten times as
long. So what takes long is done by `in_threads`, and what is left by as many of torch's threads as there are free cores
(`fit_threads`). Sums also depend on the number of torch's threads, since libraries add in another order: what decides
about symbols and is not exact is done with one.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
LOAD = Path("/proc/loadavg")  # Linux: "0.20 0.18 0.12 3/91 4711", of which 3 threads run or wait for a core
TASKS = Path("/proc/self/task")
MOST_THREADS = 256  # that `in_threads` starts in all, each when it is needed
SAMPLES, PAUSE = 5, 0.001  # of the load before fewer threads are taken, and the seconds between two


class _OfThread(threading.local):
    """State of a thread: the maximum number of threads of the call in it, None outside of calls; and in a thread of
    `in_threads`, what says that its work is no longer wanted."""

    maximum: int | None = None
    stop: threading.Event | None = None


class _State:
    """The state of the process: the number of running calls, and whether it is a fork of one with torch loaded."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls = 0
        self.forked = False
        self.threads: ThreadPoolExecutor | None = None

    def pool(self) -> ThreadPoolExecutor:
        """Threads for `in_threads`, which stay: to start them takes as long as a layer of a network."""
        with self.lock:
            if self.threads is None:
                self.threads = ThreadPoolExecutor(MOST_THREADS, "lapic")
            return self.threads

    def in_child(self) -> None:
        """Reset in a forked process, in which the calls of other threads do not exist."""
        self.lock = threading.Lock()
        self.calls = 0
        self.threads = None
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
        if default:
            _in_new_thread(lambda: torch.set_num_threads(default[0]))


def workers() -> int:
    """How many pieces of work the call in this thread may do at once: for each running call an equal part of the
    maximum number of threads, whether cores are free or not; outside of calls the number of torch's threads; one within
    such work."""
    import torch

    if _thread.stop is not None:
        return 1
    if _thread.maximum is None:
        return torch.get_num_threads()
    return 1 if _process.forked else max(1, _thread.maximum // max(1, _process.calls))


def in_threads(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    most: int | None = None,
    done: Callable[[int], object] = lambda count: None,
    spread: bool = False,
) -> list[Result]:
    """Do the work for each item in several threads, each of which computes by itself with one thread of torch. So where
    one waits for a core the others go on, and results do not depend on the number of threads.

    Args:
        most: the largest number of items that may be in work at the same time, None for all that `workers` allows.
        done: called in this thread with the number of items that are finished.
        spread: for exact arithmetic alone: torch's threads that are left are divided among the items.

    Returns:
        The results, in the order of the items. An error of one item, or in this thread, stops the others, see
        `stop_if_asked`. Where no thread can be started, this one does all.
    """
    import torch

    count = min(workers(), len(items), most or len(items))
    threads = max(1, torch.get_num_threads() // max(1, count) if spread else 1)
    shared = _Shared(work, items, count, threads).results(done) if count > 1 else None
    if shared is not None:
        return shared
    results = []
    with threads_for(threads):
        for item in items:
            results.append(work(item))
            done(len(results))
    return results


def in_free_threads(work: Callable[[Item], object], items: Sequence[Item]) -> None:
    """Do the work for each item: one after the other while torch has several threads here, which `fit_threads` gives it
    where cores are free and which share each operation; else by `in_threads`. For work on which no symbols depend.

    Where operations are short, torch's threads do more than ours, which wait for Python in turn; and after each
    operation they keep their cores busy for some milliseconds, so that ours would wait for them.
    """
    import torch

    if torch.get_num_threads() == 1:
        in_threads(work, items)
        return
    for item in items:
        work(item)


class _Shared(Generic[Item, Result]):
    """Work on items that threads share: each takes the next item when it has finished one."""

    def __init__(self, work: Callable[[Item], Result], items: Sequence[Item], count: int, threads: int) -> None:
        import torch

        self.work, self.items, self.count, self.threads = work, items, count, threads
        self.waiting = deque(range(len(items)))
        self.finished: SimpleQueue[tuple[int, Result] | BaseException] = SimpleQueue()
        self.stop = threading.Event()
        self.inference = torch.is_inference_mode_enabled()
        self.autocast = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")

    def run(self) -> None:
        """What each thread does, in the precision of the thread that asked for it."""
        import torch

        try:
            _thread.stop = self.stop
            set_threads(self.threads)
            with torch.inference_mode(self.inference), torch.no_grad(), torch.autocast("cpu", *self.autocast):
                while not self.stop.is_set():
                    try:
                        number = self.waiting.popleft()
                    except IndexError:
                        return
                    self.finished.put((number, self.work(self.items[number])))
        except BaseException as error:
            self.finished.put(error)
            self.stop.set()

    def results(self, done: Callable[[int], object]) -> list[Result] | None:
        """Start the threads and return the results, once all are there; None if not even one thread can be started, as
        in a thread that goes on after the program's main thread has ended."""
        found: dict[int, Result] = {}
        runs: list[Future[None]] = []
        try:
            for _ in range(self.count):
                runs.append(_process.pool().submit(self.run))
            while len(found) < len(self.items):
                finished = self.finished.get()
                if isinstance(finished, BaseException):
                    raise finished
                number, result = finished
                found[number] = result
                done(len(found))
        except BaseException as error:
            self.stop.set()
            if runs or not isinstance(error, RuntimeError):
                raise
            return None
        finally:
            wait(runs)
        return [found[number] for number in range(len(self.items))]


@contextmanager
def threads_for(threads: int) -> Iterator[None]:
    """A context in which torch has so many threads in this one."""
    import torch

    before = torch.get_num_threads()
    set_threads(threads)
    try:
        yield
    finally:
        set_threads(before)


def in_threads_as_they_come(
    work: Callable[[Item], Result], items: Iterable[Item], most: int | None = None, spread: bool = False
) -> Iterator[Result]:
    """As `in_threads` for items that are made one by one and may be too many for memory: the results in their order.
    Only as many items as are in work at the same time are taken at a time."""
    waiting = iter(items)
    while batch := list(islice(waiting, min(workers(), most or workers()))):
        yield from in_threads(work, batch, spread=spread)


class Stopped(Exception):
    """Work in a thread is no longer wanted."""


def stop_if_asked() -> None:
    """Raise `Stopped` if the work that `in_threads` does in this thread is no longer wanted. For work of more than a
    second, several times a second where that is possible."""
    if _thread.stop is not None and _thread.stop.is_set():
        raise Stopped


def _in_new_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    try:
        thread.start()
    except RuntimeError:  # Python 3.12 starts none after its main thread has ended
        return
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
