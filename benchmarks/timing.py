"""The stopwatch of all benchmarks."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Timing:
    """Seconds of some runs of the same work."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Timing":
        """The summary of all runs."""
        every = list(seconds)
        return cls(statistics.median(every), min(every), max(every))

    def milliseconds(self) -> str:
        """As text: the median, and the least and greatest in brackets."""
        median, least, greatest = (1e3 * value for value in (self.median, self.least, self.greatest))
        return f"{median:.1f} ({least:.1f} to {greatest:.1f}) ms"


def clock(device: torch.device = CPU) -> float:
    """Seconds on a clock that is read when a GPU has finished all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def stopwatch(times: list[float], device: torch.device = CPU) -> Iterator[None]:
    """Append the seconds that a block takes to `times`."""
    began = clock(device)
    yield
    times.append(clock(device) - began)


def measure(work: Callable[[], object], rounds: int, device: torch.device = CPU, warmup: int = 1) -> Timing:
    """Seconds of `rounds` runs, after `warmup` runs that do not count."""
    for _ in range(warmup):
        work()
    times: list[float] = []
    for _ in range(rounds):
        with stopwatch(times, device):
            work()
    return Timing.of(times)
