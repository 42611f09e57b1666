"""Calls in parallel processes: one that crashes costs itself only, and an interruption leaves nothing behind."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from codec.console import quiet_pillow
from codec.memory import keep_freed_memory

Outcome = dict[str, Any]
Call = tuple[Callable[[Any], Outcome], Any]  # a function of a module, and its argument


def end_on_sigterm() -> None:
    """Let SIGTERM end the process as an exception does, so that half-written files are cleared away."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def _in_worker() -> None:
    """Ctrl-C reaches the whole process group; the parent decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_on_sigterm()
    quiet_pillow()
    keep_freed_memory()


class _Worker:
    """One process that can be killed by what it runs: it is then replaced, and only that call is lost."""

    def __init__(self) -> None:
        self.pool = self._fresh()
        self.handing_over = threading.Lock()  # the pool starts its process then, which `stop` must see

    @staticmethod
    def _fresh() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _in_worker)

    def run(self, call: Call) -> Outcome:
        """What the call gives, or {"error": one line}."""
        work, argument = call
        try:
            with self.handing_over:
                future = self.pool.submit(work, argument)
            return future.result()
        except BrokenProcessPool:
            self.pool.shutdown(wait=False)
            self.pool = self._fresh()
            return {"error": "the process that ran it died"}
        except (Exception, SystemExit) as error:  # whatever is thrown costs its own call only
            return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}

    def stop(self) -> None:
        """End the process, also in the middle of a call; no other call is taken."""
        with self.handing_over:
            for process in list((self.pool._processes or {}).values()):
                process.terminate()
            self.pool.shutdown(wait=False, cancel_futures=True)


def run(calls: list[Call], workers: int, listen: Callable[[int, Outcome], None]) -> None:
    """Make all calls in `workers` processes; `listen` hears the number and the result of each, in the calling thread.

    A call that raises, or that kills its process, gives {"error": one line}. KeyboardInterrupt ends the workers and is
    raised again.
    """
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
    for number in [*range(len(calls)), *[None] * workers]:
        waiting.put(number)
    processes = [_Worker() for _ in range(min(workers, len(calls)))]

    def serve(worker: _Worker) -> None:
        while (number := waiting.get()) is not None:
            done.put((number, worker.run(calls[number])))

    threads = [threading.Thread(target=serve, args=[worker], daemon=True) for worker in processes]
    for thread in threads:
        thread.start()
    try:
        for _ in calls:
            listen(*done.get())
    finally:
        while not waiting.empty():  # after an interruption: nothing more is begun
            waiting.get()
        for worker in processes:
            waiting.put(None)
            worker.stop()
        for thread in threads:  # one that still replaced its pool would leave semaphores behind
            thread.join()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
