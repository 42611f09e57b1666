"""Work on a GPU that asks nothing of the host, captured once as a CUDA graph: starting its kernels one by one takes
longer than they do."""

from collections.abc import Callable
from typing import TypeVar

import torch

Made = TypeVar("Made")
WARMUP = 3  # runs before a capture, in which libraries choose their kernels and compilers compile


def captured(
    work: Callable[[], Made], device: torch.device, ready: Callable[[], object] = lambda: None
) -> Callable[[], Made]:
    """On a GPU `work` as a function that replays it and gives the same tensors each time, filled anew; else `work`.

    Args:
        ready: called between the warm-up and the capture, such as to let go of what the former left.
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
