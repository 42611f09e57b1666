"""Work on a GPU without host synchronisation, captured once as a CUDA graph: starting its kernels one by one takes
longer than running them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Generic, ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")
WARMUP = 3  # runs before a capture, in which libraries choose their kernels and compilers compile

_read: ContextVar[list[object] | None] = ContextVar("_read", default=None)  # by the work that is being captured


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """A context in which a GPU is torch's current one; nothing on a CPU. Triton's kernels and torch's events go to the
    current GPU, wherever their tensors are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def cached_on_device(maxsize: int) -> Callable[[Callable[Arguments, Made]], Callable[Arguments, Made]]:
    """As `functools.lru_cache`, of a function that makes tensors on a device: those that captured work reads stay in
    memory as long as its graph, which knows their addresses alone."""

    def wrapper(make: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
        kept = lru_cache(maxsize)(make)

        @wraps(make)
        def cached(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
            made = kept(*args, **kwargs)  # type: ignore[arg-type]
            read = _read.get()
            if read is not None:
                read.append(made)
            return made

        return cached

    return wrapper


@dataclass(frozen=True)
class Replay(Generic[Made]):
    """A captured graph: called, it replays the work.

    Attributes:
        made: what the work returns, the same tensors each time. read: what it reads of caches (`cached_on_device`).
    """

    graph: torch.cuda.CUDAGraph
    made: Made
    read: list[object]

    def __call__(self) -> Made:
        """Replay the work on the current stream; the tensors that it returns are filled anew."""
        self.graph.replay()
        return self.made


def capture_graph(
    work: Callable[[], Made], device: torch.device, ready: Callable[[], object] = lambda: None
) -> Callable[[], Made]:
    """On a GPU a function that replays `work` as a CUDA graph and returns the same tensors each time, filled anew; on a
    CPU `work` itself.

    Args:
        ready: called between the warm-up and the capture, for example to free what the warm-up allocated.
    """
    if device.type != "cuda":
        return work
    with on_device(device):
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARMUP):
                work()
        torch.cuda.current_stream(device).wait_stream(side)
        ready()
        read: list[object] = []
        token = _read.set(read)
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=side):  # torch's own stream may be another GPU's
                made = work()
        finally:
            _read.reset(token)
        return Replay(graph, made, read)
