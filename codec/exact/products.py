"""Exact matrix products of small integers, as fast as the processor allows.

Float32 holds our integers exactly, but processors multiply bytes four to eight times as fast. An activation of 12 bits
is 16 times one byte plus another, so two products of bytes give the same integers.
"""

from functools import cache
from timeit import repeat

import torch
from torch import Tensor

from lapic.codec.host import keeps_float32

LOW = 4  # bits of an activation's lower byte
LARGEST = 2**11  # activations from -LARGEST to LARGEST - 1 are split so


def product(weight: Tensor, x: Tensor) -> Tensor:
    """weight (D, C) times x (B, C, N), both of integers as floats -> (B, D, N) of x's dtype.

    On a CPU that multiplies bytes exactly x must lie in -2048..2047. All else, and weights beyond a byte, are
    multiplied as float32; as float64 where the host program allows torch less precise products of float32.
    """
    if _fits(weight, x):
        return _by_bytes(weight, x)
    if x.dtype == torch.float32 and not keeps_float32(x.device.type):
        return torch.matmul(weight.double(), x.double()).float()
    return torch.matmul(weight, x)


def _by_bytes(weight: Tensor, x: Tensor) -> Tensor:
    out = torch.empty(len(x), len(weight), x.shape[2], dtype=x.dtype, device=x.device)
    small = weight.to(torch.int8)
    for whole, place in zip(x, out, strict=True):
        whole = whole.to(torch.int16)
        high = torch._int_mm(small, (whole >> LOW).to(torch.int8))
        place.copy_(torch._int_mm(small, whole.bitwise_and_((1 << LOW) - 1).to(torch.int8)).add_(high, alpha=1 << LOW))
    return out


def _fits(weight: Tensor, x: Tensor) -> bool:
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if x.device.type != "cpu" or x.dtype != torch.float32 or learns:
        return False
    return _multiplies_bytes() and _bytes_are_faster() and bool(weight.abs().amax() <= 127)


@cache
def _multiplies_bytes() -> bool:
    """Whether torch can multiply bytes exactly on this processor: older instructions add two of them in 16 bits, which
    the largest bytes overflow."""
    if not (hasattr(torch, "_int_mm") and torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()):
        return False
    ends = torch.tensor([127, -128], dtype=torch.int8)
    left = ends.repeat(20)[:, None].repeat(1, 192)  # (40, 192)
    right = ends.repeat(150)[None].repeat(192, 1)  # (192, 300)
    try:
        return torch.equal(torch._int_mm(left, right).long(), left.long() @ right.long())
    except RuntimeError:
        return False


@cache
def _bytes_are_faster() -> bool:
    """Whether bytes take less time than floats, which is measured because it depends on processor and library: half to
    twice the time."""
    weight, x = torch.ones(192, 384, dtype=torch.float32), torch.ones(1, 384, 1536, dtype=torch.float32)
    ways = (_by_bytes, torch.matmul)
    of_bytes, of_floats = (min(repeat(lambda way=way: way(weight, x), repeat=5, number=1)) for way in ways)
    return of_bytes < of_floats
