"""How work is captured as a CUDA graph, here with a stand-in for CUDA: every tensor lies in the host's memory."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from lapic.codec.gpu import graph

SECOND = torch.device("cuda", 1)


class Cuda:
    """What of `torch.cuda` a capture uses, with the current device and all that happens on a GPU in a log."""

    def __init__(self) -> None:
        self.current, self.log = 0, list[tuple[str, int]]()

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self.current = self.current, device.index
        yield
        self.current = before

    def Stream(self, device: torch.device | None = None) -> "Stream":
        return Stream(self, self.current if device is None else device.index)

    def current_stream(self, device: torch.device) -> "Stream":
        return Stream(self, device.index)

    @contextmanager
    def stream(self, stream: "Stream") -> Iterator[None]:
        with self.device(torch.device("cuda", stream.number)):
            yield

    def CUDAGraph(self) -> "Cuda":
        return self

    def replay(self) -> None:
        self.log.append(("replay", self.current))

    @contextmanager
    def graph(self, _: "Cuda", stream: "Stream | None" = None) -> Iterator[None]:
        with self.stream(stream or Stream(self, 0)):  # torch's own stream is one of the first GPU
            self.log.append(("capture", self.current))
            yield


class Stream:
    """A stream of a GPU by its number."""

    def __init__(self, _: Cuda, number: int) -> None:
        self.number = number

    def wait_stream(self, other: "Stream") -> None:
        assert self.number == other.number


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    one = Cuda()
    monkeypatch.setattr(torch, "cuda", one)
    return one


def test_work_is_captured_on_the_device_it_runs_on(cuda: Cuda) -> None:
    run = graph.capture_graph(lambda: cuda.log.append(("work", cuda.current)), SECOND)
    assert cuda.log == [("work", 1)] * graph.WARMUP + [("capture", 1), ("work", 1)]
    assert cuda.current == 0
    run()
    assert cuda.log[-1][0] == "replay"


def test_a_graph_keeps_what_it_reads_of_caches(cuda: Cuda) -> None:
    @graph.cached_on_device(maxsize=2)
    def constants(size: int) -> torch.Tensor:
        return torch.zeros(size)

    made = weakref.ref(constants(1))
    run = graph.capture_graph(lambda: constants(1).sum(), SECOND)
    assert constants(1) is made()
    for size in (2, 3):
        constants(size)
    gc.collect()
    assert made() is not None
    assert run() is run()
    assert constants(1) is not made()
    del run
    gc.collect()
    assert made() is None


def test_a_capture_that_fails_keeps_nothing(cuda: Cuda) -> None:
    @graph.cached_on_device(maxsize=2)
    def constants(size: int) -> torch.Tensor:
        return torch.zeros(size)

    def work() -> None:
        constants(1)
        if cuda.log:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        graph.capture_graph(work, SECOND)
    assert graph._read.get() is None


def test_on_a_cpu_work_is_run_as_it_is() -> None:
    def work() -> int:
        return 3

    assert graph.capture_graph(work, torch.device("cpu")) is work
    with graph.on_device(torch.device("cpu")):
        assert work() == 3
