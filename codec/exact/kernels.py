"""The exact layers of `codec.exact.hyper` on a GPU: the same integers, with fewer passes through memory.

Activations, at most 2047, are exact in float16, weights are too, and tensor cores add their products in float32: as
long as no sum reaches 2^24 (`hyper.assert_exact`) nothing is rounded, in whatever order they do it. What follows a
product, bias and activation, is one kernel; so is a depthwise filter with its own.
"""

from collections.abc import Mapping

import torch
import triton
import triton.language as tl
from torch import Tensor

from lapic.codec.exact.hyper import ACTIVATION_MAX, INDEX_STEP, MEAN_MAX, SCALES, WEIGHT_ONE, Arithmetic
from lapic.codec.exact.products import product

# Numbers that a program computes: 8 for each thread of the usual 4 warps, enough to hide the latency of their loads.
BLOCK = 1024


@triton.jit
def _activate(sums, bias, out, count, plane, channels, ONE: tl.constexpr, LEAST: tl.constexpr, MOST: tl.constexpr,
              BLOCK: tl.constexpr):  # fmt: skip
    """clamp(floor((sums + bias) / ONE + 1/2)) of numbers (B, channels, plane), `bias` (channels,)."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    total = tl.load(sums + at, mask=inside, other=0) + tl.load(bias + at // plane % channels)
    total = tl.minimum(tl.maximum(tl.floor(total * (1 / ONE) + 0.5), LEAST), MOST)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _filter(x, taps, bias, out, count, height, width, channels, ONE: tl.constexpr, MOST: tl.constexpr,
            BLOCK: tl.constexpr):  # fmt: skip
    """The activation of 3x3 filters, `taps` (channels, 9), of (B, channels, height, width) with zeros around."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    row, column = at // width % height, at % width
    channel = at // (width * height) % channels
    total = tl.load(bias + channel)
    for tap in tl.static_range(9):
        down, right = tap // 3 - 1, tap % 3 - 1
        seen = inside & (row + down >= 0) & (row + down < height) & (column + right >= 0) & (column + right < width)
        number = tl.load(x + at + down * width + right, mask=seen, other=0).to(tl.float32)
        total += number * tl.load(taps + channel * 9 + tap)
    total = tl.minimum(tl.maximum(tl.floor(total * (1 / ONE) + 0.5), 0), MOST)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """(B, C, h, w) and (D, C), of whole numbers up to 2048 -> (B, D, h, w) float32."""
    batch, _, height, width = x.shape
    flat = x.flatten(2)  # (B, C, h w)
    if x.is_cuda:
        out = torch.bmm(weight.half().expand(batch, -1, -1), flat.half(), out_dtype=torch.float32)
    else:
        out = product(weight.float(), flat.float())
    return out.reshape(batch, -1, height, width)


def _activated(total: Tensor, bias: Tensor, one: int, least: int, most: int, dtype: torch.dtype) -> Tensor:
    out = torch.empty_like(total, dtype=dtype)
    with torch.cuda.device_of(total):  # kernels go to the current GPU
        _activate[(triton.cdiv(total.numel(), BLOCK),)](
            total.contiguous(), bias.contiguous(), out, total.numel(), total[0, 0].numel(), bias.numel(),
            ONE=one, LEAST=least, MOST=most, BLOCK=BLOCK,
        )  # fmt: skip
    return out


class DeviceArithmetic(Arithmetic):
    """As `hyper.EXACT`, with activations in float16."""

    def activation(self, total: Tensor) -> Tensor:
        """As `Arithmetic.activation`, in float16."""
        return self._half(total, total.new_zeros(1))

    def point(self, x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
        """As `Arithmetic.point`, in float16."""
        return self._half(_product(x, weights[f"{name}.weight"]), weights[f"{name}.bias"])

    def depth(self, x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
        """As `Arithmetic.depth`, of float16 or float32."""
        out, taps, bias = torch.empty_like(x), weights[f"{name}.weight"], weights[f"{name}.bias"]
        with torch.cuda.device_of(x):
            _filter[(triton.cdiv(x.numel(), BLOCK),)](
                x, taps, bias, out, x.numel(), *x.shape[2:], len(bias), ONE=WEIGHT_ONE, MOST=ACTIVATION_MAX, BLOCK=BLOCK
            )
        return out

    def parameters(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """As `Arithmetic.parameters`, in float32."""
        (mean, index), none = sums.chunk(2, dim=1), sums.new_zeros(1)
        return (
            _activated(mean, none, WEIGHT_ONE, -MEAN_MAX, MEAN_MAX, torch.float32),
            _activated(index, none, INDEX_STEP, 0, SCALES - 1, torch.float32),
        )

    def _half(self, total: Tensor, bias: Tensor) -> Tensor:
        return _activated(total, bias, WEIGHT_ONE, 0, ACTIVATION_MAX, torch.float16)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    total = _product(x, weight)
    return total if bias is None else total.add_(bias if bias.ndim == 4 else bias.reshape(-1, len(weight), 1, 1))


DEVICE = DeviceArithmetic(pointwise=_pointwise, sums=_pointwise)
