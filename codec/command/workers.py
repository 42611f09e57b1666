"""Calls in parallel processes. A crash fails one call only, and an interruption leaves no process behind.

Each process has a pipe and a thread of its own. The pools of the standard library can print a traceback when a process
is ended in the middle of a call.

The cores are divided among the processes: each computes with as many threads as it has cores, because threads that wait
for a core delay the others.
"""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Protocol

from lapic.codec.command.console import quiet_pillow
from lapic.codec.command.failures import attempt, reason
from lapic.codec.command.interrupts import end_on_sigterm
from lapic.codec.memory import collect_seldom, keep_freed_memory

Outcome = dict[str, Any]
Call = tuple[Callable[[Any], Outcome], Any]  # a function of a module, and its argument

GRACE = 5.0  # seconds from SIGTERM to SIGKILL, because the exception of a handler can be lost, such as in an import
WAIT = 0.5  # seconds between two looks for a signal
SPAWN = multiprocessing.get_context("spawn")
THREADS = "OMP_NUM_THREADS"  # torch, NumPy and most other libraries read it when they are loaded
_environment = threading.Lock()


def _make_calls(connection: Connection) -> None:
    """The work of a process: make the calls that it receives, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent handles it
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # which `_start` blocked
    end_on_sigterm()
    os.dup2(2, 1)  # the output of libraries is no result of the command
    quiet_pillow()
    keep_freed_memory()
    collect_seldom()
    with suppress(EOFError, BrokenPipeError):
        while True:
            work, argument = connection.recv()
            connection.send(attempt(work, argument))  # an exception fails its own call only


def _start(process: multiprocessing.process.BaseProcess) -> None:
    """Start a process with SIGINT blocked, if the system can, until the process ignores it."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # before the block, because its start unblocks SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process.start()


def threads_each(workers: int) -> int:
    """Threads for each of `workers` processes: an equal part of the cores, at most OMP_NUM_THREADS."""
    limit = os.environ.get(THREADS, "").split(",")[0].strip()
    cores_each = max(1, cores() // workers)
    return min(cores_each, int(limit)) if limit.isdecimal() and int(limit) else cores_each


@contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    """Set OMP_NUM_THREADS in the environment that a process which is started in the block inherits."""
    with _environment:
        before = os.environ.get(THREADS)
        os.environ[THREADS] = str(threads)
        try:
            yield
        finally:
            del os.environ[THREADS]
            if before is not None:
                os.environ[THREADS] = before


class _Worker:
    """One process. If a call kills it, that call fails and another process takes its place."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.process: multiprocessing.process.BaseProcess | None = None
        self.stopped = False
        self.lock = threading.Lock()  # for `process` and `stopped`

    def _start(self) -> None:
        """Start a process unless there is one. Raises EOFError after `stop`."""
        with self.lock:
            if self.stopped:
                raise EOFError
            if self.process is None:
                connection, other_end = SPAWN.Pipe()
                process = SPAWN.Process(target=_make_calls, args=[other_end])
                try:
                    with _thread_limit(self.threads):
                        _start(process)
                except BaseException:
                    connection.close()
                    raise
                finally:
                    other_end.close()
                self.connection, self.process = connection, process

    def run(self, call: Call) -> Outcome:
        """The result of the call, or {"error": one line}. Raises any exception where the call cannot be sent."""
        try:
            self._start()
        except Exception as error:
            return {"error": f"its process cannot be started: {reason(error)}"}
        try:
            self.connection.send(call)
            return self.connection.recv()
        except (EOFError, OSError):
            with self.lock:
                ended = self.process
                if not self.stopped:  # else `wait` needs it
                    self.process = None
            return {"error": f"the process that ran it died{_exit_reason(ended)}"}

    def stop(self) -> None:
        """Terminate the process, also in the middle of a call; it takes no other call."""
        with self.lock:
            self.stopped = True
            if self.process:
                self.process.terminate()

    def wait(self) -> None:
        """Wait for the process to end; it is killed after GRACE seconds."""
        if self.process:
            self.process.join(GRACE)
            self.process.kill()
            self.process.join()


def _exit_reason(process: multiprocessing.process.BaseProcess | None) -> str:
    """The signal that ended a process, in parentheses; empty if it is unknown."""
    if process is None:
        return ""
    process.join(GRACE)
    code = process.exitcode
    if hasattr(signal, "SIGKILL") and code == -signal.SIGKILL:
        return " (killed, perhaps for want of memory)"
    return f" ({signal.Signals(-code).name})" if code is not None and code < 0 else ""


WorkerPool = list[_Worker]


class RemotePool(Protocol):
    """Processes of other machines."""

    def __len__(self) -> int:
        """How many they are."""

    def run(self, calls: list[Call], listen: Callable[[int, Outcome], None]) -> None:
        """Make all calls, as `run` does."""


@contextmanager
def worker_pool(workers: int) -> Iterator[WorkerPool]:
    """Processes for several calls of `run`, which start with the first call and end with the context."""
    processes = [_Worker(threads_each(workers)) for _ in range(workers)]
    try:
        yield processes
    finally:
        _end(processes)


def _end(processes: WorkerPool) -> None:
    """End the processes, those in the middle of a call too."""
    for worker in processes:
        worker.stop()
    for worker in processes:
        worker.wait()


def run(calls: list[Call], workers: int | WorkerPool | RemotePool, listen: Callable[[int, Outcome], None]) -> None:
    """Make all calls in processes.

    Args:
        workers: a pool, or how many processes to start for these calls alone.
        listen: called in this thread with the number of each call and its result, which is {"error": one line} for a
            call that raised an exception or killed its process.

    Raises:
        BaseException: KeyboardInterrupt, and any exception of `listen`; the processes are ended first.
    """
    if isinstance(workers, int):
        with worker_pool(min(workers, len(calls))) as pool:
            return run(calls, pool, listen)
    if not isinstance(workers, list):
        return workers.run(calls, listen)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
    for number in range(len(calls)):
        waiting.put(number)

    def serve(worker: _Worker) -> None:
        with suppress(queue.Empty):
            while not worker.stopped:
                number = waiting.get_nowait()
                try:
                    outcome = worker.run(calls[number])
                except BaseException as error:  # `done` has to get an outcome for each call
                    outcome = {"error": reason(error)}
                done.put((number, outcome))

    threads = [threading.Thread(target=serve, args=[worker], daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for _ in calls:
            listen(*_next(done))
    except BaseException:
        _end(workers)
        raise
    finally:
        for thread in threads:
            thread.join()


def _next(done: "queue.SimpleQueue[tuple[int, Outcome]]") -> tuple[int, Outcome]:
    """The next outcome. On Windows no signal ends a wait, so that Ctrl-C is noticed between two."""
    while True:
        with suppress(queue.Empty):
            return done.get(timeout=WAIT)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
