"""Layers computed strip by strip: a strip stays in the cache, and its thread waits for the others once for a layer."""

import threading
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lapic.codec.threads import in_threads

STRIP = 2**17  # numbers of a strip, at least
ROWS = 8  # of a strip, at least
WHOLE = 2**23  # numbers of features that torch's threads share as a whole, at most


@runtime_checkable
class Windowed(Protocol):
    """A layer that computes some of its rows by itself."""

    def __call__(self, x: Tensor) -> Tensor:
        """Its output for the input x, (B, C, h, w) or (B, h, w, C)."""
        ...

    def window(self, x: Tensor, rows: slice) -> Tensor:
        """Those rows of its output."""
        ...


def cut(height: int, numbers: int) -> list[slice]:
    """Rows cut into a power of two of nearly equal strips, which depends on the shape of a tensor alone, not on the
    number of threads: libraries may add in another order in strips of another height."""
    parts = min(numbers // STRIP, height // ROWS)
    parts = 1 << max(0, parts.bit_length() - 1)
    edges = [height * number // parts for number in range(parts + 1)]
    return [slice(top, bottom) for top, bottom in pairwise(edges)]


def in_strips(layer: Callable[[Tensor], Tensor], x: Tensor, axis: int = 2, free: bool = False) -> Tensor:
    """A layer's output for (B, C, h, w), or with axis 1 for (B, h, w, C); on a CPU, for one picture and where no
    gradient is wanted, made in strips. The layer is `Windowed` or computes every place by itself.

    Each thread writes what it has made: torch's own threads would keep a core busy for a while after joining strips.

    Args:
        free: whether no symbols depend on the output. It is then made as a whole while torch has several threads, see
            `codec.threads.in_free_threads`, unless features are so large that strips, which stay in the cache, take
            less time.
    """
    if len(x) > 1 or not _divisible(x) or (free and torch.get_num_threads() > 1 and x[0].numel() <= WHOLE):
        return layer(x)
    strips, lock, whole = cut(x.shape[axis], x[0].numel()), threading.Lock(), list[Tensor]()

    def make(rows: slice) -> Tensor:
        if isinstance(layer, Windowed):
            return layer.window(x, rows)
        return layer(x.narrow(axis, rows.start, rows.stop - rows.start))

    def fill(rows: slice) -> None:
        strip = make(rows)
        with lock:
            if not whole:
                whole.append(_taller(strip, x.shape[axis], axis))
        whole[0].narrow(axis, rows.start, rows.stop - rows.start).copy_(strip)

    if len(strips) == 1:
        return in_threads(make, strips)[0]
    in_threads(fill, strips)
    return whole[0]


def _taller(strip: Tensor, height: int, axis: int) -> Tensor:
    """An empty tensor like a strip, but of another height."""
    shape = [*strip.shape]
    shape[axis] = height
    channels_last = strip.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=strip.dtype, device=strip.device, memory_format=order)


def with_neighbours(rows: slice, height: int) -> tuple[slice, slice]:
    """The rows and one more on either side, where there is one of `height`; and where `rows` lie among them."""
    top, bottom = max(rows.start - 1, 0), min(rows.stop + 1, height)
    return slice(top, bottom), slice(rows.start - top, rows.stop - top)


def blocks_in_strips(blocks: Iterable[nn.Module], x: Tensor, axis: int = 2, free: bool = False) -> Tensor:
    """Blocks one after the other, each by `in_strips`."""
    for block in blocks:
        x = in_strips(block, x, axis, free)
    return x


def _divisible(x: Tensor) -> bool:
    """Whether strips may be made of what is computed from x: on a CPU, where neither a gradient nor a graph of the
    network is wanted."""
    wanted = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
    return x.device.type == "cpu" and not wanted
