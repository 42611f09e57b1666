"""Calls in parallel processes: one that crashes costs itself only, and an interruption leaves nothing behind.

Each process has a pipe and a thread of its own. A pool of the standard library would do too, but where its process is
ended in the middle of a call it now and then takes its leave with a traceback.

The processes share the cores: each takes its part of them as threads, for threads that wait for a core hold up others.
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
from typing import Any

from lapic.codec.command.console import quiet_pillow
from lapic.codec.command.failures import attempt, reason
from lapic.codec.command.interrupts import end_on_sigterm
from lapic.codec.memory import keep_freed_memory

Outcome = dict[str, Any]
Call = tuple[Callable[[Any], Outcome], Any]  # a function of a module, and its argument

GRACE = 5.0  # seconds from SIGTERM to SIGKILL: the exception that a handler raises can be lost, such as in an import
SPAWN = multiprocessing.get_context("spawn")
THREADS = "OMP_NUM_THREADS"  # what torch, NumPy and most other libraries go by when they are loaded
_environment = threading.Lock()


def _make_calls(connection: Connection) -> None:
    """What a process does: make the calls that come, until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # which `_start` blocked
    end_on_sigterm()
    os.dup2(2, 1)  # what libraries print is no result of the command
    quiet_pillow()
    keep_freed_memory()
    with suppress(EOFError, BrokenPipeError):
        while True:
            work, argument = connection.recv()
            connection.send(attempt(work, argument))  # whatever is thrown costs its own call only


def _start(process: multiprocessing.process.BaseProcess) -> None:
    """Start a process that SIGINT does not reach before it ignores it, where the system can see to that."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # for its start unblocks SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process.start()


def threads_each(workers: int) -> int:
    """Threads for each of so many processes: its part of the cores, fewer if OMP_NUM_THREADS says so."""
    allowed = os.environ.get(THREADS, "").split(",")[0].strip()
    share = max(1, cores() // workers)
    return min(share, int(allowed)) if allowed.isdecimal() and int(allowed) else share


@contextmanager
def _told_threads(threads: int) -> Iterator[None]:
    """While a process is started, which takes over the environment and loads its libraries by it."""
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
    """One process that can be killed by what it runs: it is then replaced, and only that call is lost."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.process: multiprocessing.process.BaseProcess | None = None
        self.stopped = False
        self.changing = threading.Lock()

    def _start(self) -> None:
        """Start a process unless there is one. Raises EOFError after `stop`."""
        with self.changing:
            if self.stopped:
                raise EOFError
            if self.process is None:
                self.connection, theirs = SPAWN.Pipe()
                self.process = SPAWN.Process(target=_make_calls, args=[theirs])
                with _told_threads(self.threads):
                    _start(self.process)
                theirs.close()

    def run(self, call: Call) -> Outcome:
        """What the call gives, or {"error": one line}."""
        try:
            self._start()
            self.connection.send(call)
            return self.connection.recv()
        except (EOFError, OSError):
            with self.changing:
                ended = self.process
                if not self.stopped:  # else `wait` still needs it
                    self.process = None
            return {"error": f"the process that ran it died{_how(ended)}"}
        except Exception as error:  # a call that cannot be sent
            return {"error": reason(error)}

    def stop(self) -> None:
        """Ask the process to end, also in the middle of a call; no other call is taken."""
        with self.changing:
            self.stopped = True
            if self.process:
                self.process.terminate()

    def wait(self) -> None:
        """Wait for the process to end, after a while by force."""
        if self.process:
            self.process.join(GRACE)
            self.process.kill()
            self.process.join()


def _how(process: multiprocessing.process.BaseProcess | None) -> str:
    """What ended a process, in parentheses, where the system tells."""
    if process is None:
        return ""
    process.join(GRACE)
    code = process.exitcode
    if code == -signal.SIGKILL:
        return " (killed, perhaps for want of memory)"
    return f" ({signal.Signals(-code).name})" if code is not None and code < 0 else ""


Crew = list[_Worker]


@contextmanager
def crew(workers: int) -> Iterator[Crew]:
    """Processes for one `run` after another, so that only the first waits for them to start; they end with the
    context."""
    processes = [_Worker(threads_each(workers)) for _ in range(workers)]
    try:
        yield processes
    finally:
        _end(processes)


def _end(processes: Crew) -> None:
    """End the processes, those in the middle of a call too."""
    for worker in processes:
        worker.stop()
    for worker in processes:
        worker.wait()


def run(calls: list[Call], workers: int | Crew, listen: Callable[[int, Outcome], None]) -> None:
    """Make all calls in processes; `listen` hears the number and the result of each, in the calling thread.

    A call that raises, or that kills its process, gives {"error": one line}. KeyboardInterrupt, and whatever `listen`
    raises, ends the processes and is raised again.

    Args:
        workers: a crew, or how many processes to start for these calls alone.
    """
    if isinstance(workers, int):
        with crew(min(workers, len(calls))) as alone:
            return run(calls, alone, listen)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
    for number in range(len(calls)):
        waiting.put(number)

    def serve(worker: _Worker) -> None:
        with suppress(queue.Empty):
            while not worker.stopped:
                number = waiting.get_nowait()
                done.put((number, worker.run(calls[number])))

    threads = [threading.Thread(target=serve, args=[worker], daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for _ in calls:
            listen(*done.get())
    except BaseException:
        _end(workers)
        raise
    finally:
        for thread in threads:
            thread.join()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
