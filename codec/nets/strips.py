"""Layers computed strip by strip: a strip stays in the cache, and its thread waits for the others once for a layer."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from lapic.codec.threads import in_threads

STRIP = 2**17  # numbers of a strip, at least
ROWS = 8  # of a strip, at least


class Windowed(Protocol):
    """A layer that computes some of its rows by itself."""

    def window(self, x: Tensor, rows: slice) -> Tensor:
        """Those rows of its output for the input (B, C, h, w)."""
        ...


def cut(height: int, numbers: int) -> list[slice]:
    """Rows cut into a power of two of nearly equal strips, which depends on the shape of a tensor alone, not on the
    number of threads: libraries may add in another order in strips of another height."""
    parts = min(numbers // STRIP, height // ROWS)
    parts = 1 << max(0, parts.bit_length() - 1)
    edges = [height * number // parts for number in range(parts + 1)]
    return [slice(top, bottom) for top, bottom in pairwise(edges)]


def in_strips(layer: nn.Conv2d | Windowed, x: Tensor) -> Tensor:
    """A layer's output for (B, C, h, w); on a CPU, for one picture and where no gradient is wanted, made in strips. The
    layer is a 1x1 convolution or has a `window`."""
    if torch.is_grad_enabled() or x.device.type != "cpu" or len(x) > 1 or _is_traced():
        return layer(x)

    def compute(rows: slice) -> Tensor:
        return layer(x[:, :, rows]) if isinstance(layer, nn.Conv2d) else layer.window(x, rows)

    parts = in_threads(compute, cut(x.shape[2], x[0].numel()))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def blocks_in_strips(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Blocks one after the other, each in strips."""
    for block in blocks:
        x = in_strips(block, x)
    return x


def _is_traced() -> bool:
    """Whether a graph of the network is made."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
