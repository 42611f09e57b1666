"""Work on a GPU without host synchronisation, captured once as a CUDA graph: starting its kernels one by one takes
longer than running them."""

from collections.abc import Callable
from typing import TypeVar

import torch

Made = TypeVar("Made")
WARMUP = 3  # runs before a capture, in which libraries choose their kernels and compilers compile


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
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARMUP):
            work()
    torch.cuda.current_stream(device).wait_stream(side)
    ready()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = work()

    def replay() -> Made:
        graph.replay()
        return made

    return replay
