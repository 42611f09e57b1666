"""Hyper-synthesis: from the hyper-latent z^ to the mean and the scale index of every latent, in exact integers.

These numbers decide how each symbol is decoded, so one wrong bit corrupts the rest of a tile. Hence all arithmetic is
exact: activations, weights and biases are integers held in float32 tensors, and every partial sum stays below 2^24 in
magnitude (`assert_exact`), so float32 additions are exact in any order, on any device and with any number of threads.
Spatial filters are shifted products, or convolutions by a library that is known to multiply and add alone: another one
might go by Winograd's or Fourier's method, whose intermediate values are not integers.

Number formats: activations count 1/32 (0..2047, that is 0..63.97), weights 1/128, biases and sums 1/4096.
The idea of integer entropy networks: Balle, Johnston, Minnen, "Integer Networks for Data Compression with
Latent-Variable Models", ICLR 2019.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lapic.codec.exact.products import convolves, product
from lapic.codec.nets.levels import coarser, interpolate_levels
from lapic.codec.nets.pyramid import add, shuffle

ACTIVATION_MAX = 2047
WEIGHT_ONE = 128
SUM_ONE = 32 * WEIGHT_ONE
MEAN_ONE = 32
MEAN_MAX = 512 * MEAN_ONE - 1
SCALES = 64
SCALE_RANGE = (0.11, 256.0)  # standard deviations of the scale table in quantisation steps, log-spaced
INDEX_STEP = 256  # a sum of 4096 (1.0 in real numbers) moves the scale index by 16
HYPER_LATENT_MAX = 63
HYPER = 4  # edge, in latents, of the square that a hyper-latent stands for


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """1x1 convolution as one matrix product: (B, C, h, w), (D, C), (D,) or (B, D) or (B, D, h, w) or None ->
    (B, D, h, w)."""
    batch, _, height, width = x.shape
    out = product(weight, x.flatten(2))
    out = out if bias is None else add(out, bias_rows(bias))
    return out.reshape(batch, -1, height, width)


def bias_rows(bias: Tensor) -> Tensor:
    """A bias (D,), (B, D) or (B, D, h, w) as (B, D, 1) or (B, D, h w)."""
    return bias.flatten(2) if bias.ndim == 4 else bias.reshape(-1, bias.shape[-1], 1)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 filter per channel: (B, C, h, w), (C, 9), (C,) -> (B, C, h, w), zero border."""
    if convolves(x):
        return torch.mkldnn_convolution(x, weight.reshape(-1, 1, 3, 3), bias, (1, 1), (1, 1), (1, 1), len(weight))
    height, width = x.shape[-2:]
    padded = F.pad(x, (1, 1, 1, 1))
    out = bias.reshape(-1, 1, 1).expand_as(x)
    for tap in range(9):
        row, column = divmod(tap, 3)
        out = torch.addcmul(out, padded[..., row : row + height, column : column + width], weight[:, tap, None, None])
    return out


@dataclass(frozen=True)
class Arithmetic:
    """How the layers are computed: exactly in a codec, otherwise in training (`training.hyper`).

    `floor` and `clamp` work in place by default: their inputs are temporary, and new memory costs more than the
    arithmetic. `sums` is the pointwise layer of the sums that become means and scale indices. The context adds two of
    these, which rounds beyond 2^24, where means and indices are at their limits anyway.
    """

    pointwise: Callable[[Tensor, Tensor, Tensor], Tensor] = pointwise
    sums: Callable[[Tensor, Tensor, Tensor | None], Tensor] = pointwise
    depthwise: Callable[[Tensor, Tensor, Tensor], Tensor] = depthwise
    floor: Callable[[Tensor], Tensor] = torch.floor_
    clamp: Callable[[Tensor, float, float], Tensor] = torch.clamp_

    def activation(self, total: Tensor) -> Tensor:
        """The next layer's input from a layer's sums: 0 for what is negative, 1/32 for each 4096/32 of the rest."""
        return self.clamp(self.floor(_rounding(total, WEIGHT_ONE)), 0, ACTIVATION_MAX)

    def parameters(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """From sums (B, 2M, h, w): mean (B, M, h, w), integers that count 1/32 of a quantisation step; scale index
        (B, M, h, w), 0..63."""
        mean, index = sums.chunk(2, dim=1)
        mean = self.clamp(self.floor(_rounding(mean, WEIGHT_ONE)), -MEAN_MAX, MEAN_MAX)
        return mean, self.clamp(self.floor(_rounding(index, INDEX_STEP)), 0, SCALES - 1)

    def point(self, x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
        """A pointwise layer with its activation."""
        return self.activation(self.pointwise(x, weights[f"{name}.weight"], weights[f"{name}.bias"]))

    def depth(self, x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
        """A depthwise layer with its activation."""
        return self.activation(self.depthwise(x, weights[f"{name}.weight"], weights[f"{name}.bias"]))


EXACT = Arithmetic()


def _rounding(total: Tensor, one: int) -> Tensor:
    """total / one + 1/2 in one pass over the memory; `one` is a power of two, so nothing is rounded. The half is made
    on the device, since a copy from the host would have to be waited for."""
    half = torch.full((), 0.5, dtype=total.dtype, device=total.device)
    return torch.add(half, total, alpha=1 / one)


def level_bias(table: Tensor, quality: Tensor, arithmetic: Arithmetic = EXACT) -> Tensor:
    """A layer's integer bias from its table (L, C), interpolated and rounded: (B, C) at fixed-point qualities (B,),
    (B, C, h, w) at those of places, (B, h, w)."""
    return arithmetic.floor(interpolate_levels(table, quality) + 0.5).to(table.dtype)


def hyper_synthesis(
    z: Tensor, quality: Tensor, weights: Mapping[str, Tensor], arithmetic: Arithmetic = EXACT
) -> Tensor:
    """The features of every latent's place, from z.

    Args:
        z: (B, Z, h/4, w/4) integers in -63..63, as float32 (or float64).
        quality: integers 256..25600, (B,), or at each place within the picture, (B, h', w') with h/4 = ceil(h'/4).
        weights: the integer tensors of `shapes`' names, of z's dtype.

    Returns:
        features (B, W, h, w), activations, of which `codec.exact.context` makes means and scale indices.
    """
    a = arithmetic
    bias = level_bias(weights["level.enter"], coarser(quality, HYPER), a)
    x = a.activation(a.pointwise(z * 32, weights["point0.weight"], bias))  # (B, W, h/4, w/4)
    x = a.depth(x, weights, "depth0")
    x = shuffle(a.point(x, weights, "point1"), 2)  # (B, N, h/2, w/2)
    x = a.depth(x, weights, "depth1")
    x = shuffle(a.point(x, weights, "point2"), 2)  # (B, N, h, w)
    x = a.depth(x, weights, "depth2")
    return a.point(x, weights, "point3")


def shapes(latent: int, hyper: int, wide: int, narrow: int, levels: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the integer tensors for M = `latent`, Z = `hyper`, W = `wide`, N = `narrow` channels."""
    points = [(wide, hyper), (4 * narrow, wide), (4 * narrow, narrow), (wide, narrow), (2 * latent, wide)]
    depths = [wide, narrow, narrow]
    named: dict[str, tuple[int, ...]] = {"level.enter": (levels, wide), "level.leave": (levels, 2 * latent)}
    for number, shape in enumerate(points):
        named[f"point{number}.weight"] = shape
        if number not in (0, 4):  # these two have a bias for each rate level
            named[f"point{number}.bias"] = shape[:1]
    for number, channels in enumerate(depths):
        named[f"depth{number}.weight"], named[f"depth{number}.bias"] = (channels, 9), (channels,)
    return named


def largest_sum(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """For each layer the largest magnitude a partial sum can take: L1 norm of a row's weights x the largest
    activation + the bias (and what a layer named "join" is added to), in units of 1/4096. Float32 is exact while this
    stays below 2^24."""
    levels = {"point0": "level.enter", "point4": "level.leave"}
    bounds = {}
    for name in weights:
        if name.endswith(".weight"):
            layer = name.removesuffix(".weight")
            bias = weights.get(levels.get(layer, f"{layer}.bias"), torch.zeros(1)).abs()
            bias = bias.amax(0) if layer in levels else bias
            added = ACTIVATION_MAX * WEIGHT_ONE if layer.endswith(".join") else 0
            bounds[layer] = int((weights[name].abs().sum(1).double() * ACTIVATION_MAX + bias).max()) + added
    return bounds


def assert_exact(weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless all weights are integers and no partial sum can reach 2^24."""
    for name, tensor in weights.items():
        if not torch.equal(tensor, tensor.round()):
            raise ValueError(f"{name} holds numbers that are no integers")
    for layer, bound in largest_sum(weights).items():
        if bound >= 2**24:
            raise ValueError(f"{layer}: a partial sum may reach {bound}, beyond the 2^24 that float32 keeps exact")
