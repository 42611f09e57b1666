"""Many points in parallel: worker processes, progress, and a cache on disk that an interruption cannot harm."""

import hashlib
import json
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from codec.evaluation.codecs import Codec
from codec.evaluation.measure import Job

Point = dict[str, Any]
Call = tuple[Callable[[Any], Point], Any]  # a function of a module, and its argument


class Cache:
    """Points on disk, one JSON object a line, appended and flushed as soon as each is known.

    A point's key holds everything that it depends on: the picture's bytes, codec and its version, quality, metrics,
    threads. A line cut short by a crash is skipped; lines begin with the line break, so that the next one stays whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.points: dict[str, Point] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    stored = json.loads(line)
                    self.points[stored["key"]] = stored["point"]
                except (ValueError, KeyError):
                    continue

    def add(self, key: str, point: Point) -> None:
        """Keep a point, at once and for later runs."""
        self.points[key] = point
        with self.path.open("a") as file:
            file.write("\n" + json.dumps({"key": key, "point": point}))


def key_of(job: Job, codec: Codec, digest: str, metric_versions: str) -> str:
    """The cache key of a job; `digest` is that of the picture's file."""
    parts = [digest, codec.name, codec.version, job.quality, job.metrics, job.lpips_net, metric_versions, job.threads]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Worker:
    """One process that can be killed by what it runs: it is then replaced, and only that job is lost."""

    def __init__(self) -> None:
        self.pool = self._fresh()

    @staticmethod
    def _fresh() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def run(self, call: Call) -> Point:
        """What the call gives, or {"error": one line}."""
        work, argument = call
        try:
            return self.pool.submit(work, argument).result()
        except BrokenProcessPool:
            self.pool.shutdown(wait=False)
            self.pool = self._fresh()
            return {"error": "the process that ran it died"}
        except Exception as error:  # whatever a codec throws costs its own point only
            return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}

    def stop(self) -> None:
        """End the process, also in the middle of a job."""
        for process in list((self.pool._processes or {}).values()):
            process.terminate()
        self.pool.shutdown(wait=False, cancel_futures=True)


def run(calls: list[Call], workers: int, listen: Callable[[int, Point], None]) -> None:
    """Make all calls in `workers` processes; `listen` hears the number and the result of each, in the calling thread.

    A call that raises, or that kills its process, gives {"error": one line}. KeyboardInterrupt ends the workers and is
    raised again.
    """
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Point]] = queue.SimpleQueue()
    for number in [*range(len(calls)), *[None] * workers]:
        waiting.put(number)
    processes = [_Worker() for _ in range(min(workers, len(calls)))]

    def serve(worker: _Worker) -> None:
        while (number := waiting.get()) is not None:
            done.put((number, worker.run(calls[number])))

    for worker in processes:
        threading.Thread(target=serve, args=[worker], daemon=True).start()
    try:
        for _ in calls:
            listen(*done.get())
    finally:
        while not waiting.empty():  # after an interruption: nothing more is begun
            waiting.get()
        for worker in processes:
            waiting.put(None)
            worker.stop()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pictures_in(paths: tuple[Path, ...]) -> Iterator[Path]:
    """The given files, and the pictures directly in the given folders, sorted."""
    from PIL import Image

    known = {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}
    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.iterdir()) if file.suffix.lower() in known)
        else:
            yield path
