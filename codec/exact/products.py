"""Exact products and filters of small integers, as fast as the processor allows.

Float32 holds our integers exactly, but processors multiply bytes four to eight times as fast. An activation of 12 bits
is 128 times one byte plus another, so two products of bytes give the same integers. In most channels no activation is
beyond a byte; only the others need the second product.
"""

from functools import cache
from timeit import repeat

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from lapic.codec.host import keeps_float32

BYTE = 128  # bytes reach from -BYTE to BYTE - 1
LARGEST = 2**11  # activations from -LARGEST to LARGEST - 1 are split so

_kept = WeakTensorKeyDictionary()  # what `_bytes_of` gives, and the version of the weight


def product(weight: Tensor, x: Tensor) -> Tensor:
    """weight (D, C) times x (B, C, N), both of integers as floats -> (B, D, N) of x's dtype.

    On a CPU that multiplies bytes exactly x must lie in -2048..2047. All else, and weights beyond a byte, are
    multiplied as float32; as float64 where the host program allows torch less precise products of float32.
    """
    small = _bytes_of(weight) if _may_go_by_bytes(weight, x) else None
    if small is not None:
        return _by_bytes(small, x)
    if x.dtype == torch.float32 and not keeps_float32(x.device.type):
        return torch.matmul(weight.double(), x.double()).float()
    return torch.matmul(weight, x)


def convolves(x: Tensor) -> bool:
    """Whether a depthwise convolution of x (B, C, h, w) by oneDNN is exact and at hand."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and _convolves() and keeps_float32("cpu")


def _by_bytes(small: Tensor, x: Tensor) -> Tensor:
    out = torch.empty(len(x), len(small), x.shape[2], dtype=x.dtype, device=x.device)
    for whole, place in zip(x, out, strict=True):
        large = (whole.abs().amax(1) >= BYTE).nonzero().flatten()  # channels beyond a byte
        if len(large) == 0:
            place.copy_(torch._int_mm(small, whole.to(torch.int8)))
            continue
        part = whole[large]
        high = (part / BYTE).to(torch.int8)  # towards 0
        low = whole.index_copy(0, large, part.sub_(high, alpha=BYTE))
        total = torch._int_mm(small, low.to(torch.int8))
        place.copy_(total.add_(torch._int_mm(small[:, large], high), alpha=BYTE))
    return out


def _may_go_by_bytes(weight: Tensor, x: Tensor) -> bool:
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if x.device.type != "cpu" or x.dtype != torch.float32 or learns:
        return False
    return _multiplies_bytes() and _bytes_are_faster()


def _bytes_of(weight: Tensor) -> Tensor | None:
    """A weight as bytes, None if it is beyond them; kept as long as the weight is, unless that changes."""
    version = 0 if weight.is_inference() else weight._version
    if weight not in _kept or _kept[weight][0] != version:
        _kept[weight] = version, weight.to(torch.int8) if bool(weight.abs().amax() <= 127) else None
    return _kept[weight][1]


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
def _convolves() -> bool:
    """Whether torch has oneDNN on a processor where it computes depthwise convolutions by products and sums alone, and
    the largest sums are right. Elsewhere a library may transform (Winograd), with numbers between that are no
    integers."""
    if not (torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")):
        return False
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, LARGEST, (1, 40, 37, 41), generator=generator).float()
    weight = torch.randint(-900, 901, (40, 1, 3, 3), generator=generator).float()
    weight[:20].abs_()
    bias = torch.randint(-(2**17), 2**17, (40,), generator=generator).float()
    found = torch.mkldnn_convolution(x, weight, bias, (1, 1), (1, 1), (1, 1), 40)
    return torch.equal(found.double(), F.conv2d(x.double(), weight.double(), bias.double(), padding=1, groups=40))


@cache
def _bytes_are_faster() -> bool:
    """Whether bytes take less time than floats, which is measured because it depends on processor and library: half to
    twice the time."""
    weight, x = torch.ones(192, 384, dtype=torch.float32), torch.ones(1, 384, 1536, dtype=torch.float32)
    small = weight.to(torch.int8)
    of_bytes = min(repeat(lambda: _by_bytes(small, x), repeat=5, number=1))
    return of_bytes < min(repeat(lambda: torch.matmul(weight, x), repeat=5, number=1))
