"""Context: means and scale indices from the symbols that are known already, in exact integers.

A tile's symbols are coded in three passes:

1. `checker1`: the low channels, the latents of most variance, at every other place, like the white fields of a
   checkerboard, from the features of the hyper-synthesis alone;
2. `checker2`: the low channels at the places between, which know the symbols of pass 1 around them;
3. `high`: all other channels, which know all low symbols.

Means and scale indices are sums over the features of the hyper-synthesis and, in passes 2 and 3, over features of the
known symbols. The checkerboard is that of He et al., "Checkerboard Context Model for Efficient Learned Image
Compression", CVPR 2021; coding some channels first is Minnen and Singh, "Channel-wise Autoregressive Entropy Models",
ICIP 2020. A model without context codes all its symbols in one pass.

The rules that keep `codec.exact.hyper` exact hold here too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from numpy.typing import NDArray
from torch import Tensor

from lapic.codec.exact import hyper
from lapic.codec.exact.hyper import EXACT, Arithmetic
from lapic.codec.nets.pyramid import add

CPU = torch.device("cpu")
SYMBOL_ONE = 8  # the activation that stands for a symbol of 1
SYMBOL_SEEN = 255  # larger magnitudes count as this, so that 8 times them stays within hyper.ACTIVATION_MAX


@dataclass(frozen=True)
class Pass:
    """The latents of one pass: a slice of the channels, at the places that are true in `places` (h, w), all if None."""

    channels: slice
    places: Tensor | None


CodePass = Callable[[Pass, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Coded:
    """Mean (1/32 of a step), scale index and symbol of every latent, each (B, M, h, w)."""

    mean: Tensor
    index: Tensor
    symbol: Tensor

    def part(self, place: tuple[slice, slice]) -> "Coded":
        """Those of some rows and columns."""
        return Coded(self.mean[:, :, *place], self.index[:, :, *place], self.symbol[:, :, *place])


def low_channels(weights: Mapping[str, Tensor]) -> int:
    """How many channels are coded first, 0 for a model without context."""
    return weights["odd.enter.weight"].shape[1] if "odd.enter.weight" in weights else 0


def checkerboard(height: int, width: int, device: torch.device = CPU) -> Tensor:
    """(h, w) truth values: the places whose row and column add up to an even number."""
    rows, columns = (torch.arange(edge, device=device) for edge in (height, width))
    return (rows[:, None] + columns) % 2 == 0


def passes(low: int, shape: Sequence[int], device: torch.device = CPU) -> list[Pass]:
    """The passes of a tile of latents (M, h, w), of which `low` channels are coded first, in the order of coding."""
    latent, height, width = shape
    if not low:
        return [Pass(slice(0, latent), None)]
    white, lows = checkerboard(height, width, device), slice(0, low)
    return [Pass(lows, white), Pass(lows, ~white), Pass(slice(low, latent), None)]


def split(values: NDArray, low: int) -> list[NDArray]:
    """The values (M, h, w) of a tile as the passes take them, each in raster order."""
    return [
        values[part.channels] if part.places is None else values[part.channels, part.places.numpy()]
        for part in passes(low, values.shape)
    ]


def context_features(
    symbols: Tensor, features: Tensor, weights: Mapping[str, Tensor], name: str, arithmetic: Arithmetic
) -> Tensor:
    """Features (B, W, h, w) of the known low symbols (B, C, h, w), 0 where unknown, and of the hyper-synthesis.

    Args:
        name: prefix of the layers' weights, "odd" for `checker2` and "rest" for `high`.
    """
    a, limit = arithmetic, SYMBOL_ONE * SYMBOL_SEEN
    x = a.clamp(SYMBOL_ONE * symbols, -limit, limit)
    x = a.depth(a.point(x, weights, f"{name}.enter"), weights, f"{name}.filter")  # (B, K, h, w)
    x = a.point(torch.cat([x, features], dim=1), weights, f"{name}.mix")  # (B, K + W, h, w) -> (B, W, h, w)
    branch = a.depth(a.point(x, weights, f"{name}.widen"), weights, f"{name}.second")  # (B, K, h, w)
    branch = a.pointwise(branch, weights[f"{name}.join.weight"], weights[f"{name}.join.bias"])  # (B, W, h, w)
    return a.activation(torch.add(branch, x, alpha=hyper.WEIGHT_ONE))


def run_passes(
    features: Tensor,
    quality: Tensor,
    weights: Mapping[str, Tensor],
    code_pass: CodePass,
    arithmetic: Arithmetic = EXACT,
) -> Coded:
    """Run a tile's passes.

    Args:
        features: (B, W, h, w), of the hyper-synthesis, cut to the tile's h x w places.
        quality: (B,), fixed-point, or that of each place, (B, h, w).
        weights: the integer tensors of `shapes`' names beside the hyper-synthesis' own.
        code_pass: called for each pass with its channels' means and scale indices, (B, D, h, w); returns their symbols
            (B, D, h, w), of which those at places that the pass does not code are disregarded.
    """
    bias = hyper.level_bias(weights["level.leave"], quality, arithmetic)  # (B, 2M) or (B, 2M, h, w)
    means, indices = weights["point4.weight"].chunk(2)  # each (M, W)
    mean_bias, index_bias = bias.chunk(2, dim=1)
    low, latent = low_channels(weights), len(means)

    def unconditioned(channels: slice) -> Tensor:
        """Sums of some channels' means and indices by the features alone, (B, 2D, h, w)."""
        both = torch.cat([mean_bias[:, channels], index_bias[:, channels]], dim=1)  # (B, 2D) or (B, 2D, h, w)
        return arithmetic.sums(features, torch.cat([means[channels], indices[channels]]), both)

    def conditioned(symbols: Tensor, name: str, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale index, (B, D, h, w), by the features' sums and the known low symbols."""
        known = context_features(symbols, features, weights, name, arithmetic)
        return arithmetic.parameters(add(arithmetic.sums(known, weights[f"{name}.leave.weight"], None), sums))

    checker1, *later = passes(low, (latent, *features.shape[-2:]), features.device)
    low_sums = unconditioned(checker1.channels)
    mean, index = arithmetic.parameters(low_sums)  # (B, C, h, w)
    symbol = code_pass(checker1, mean, index)
    if not later:
        return Coded(mean, index, symbol)
    checker2, high = later
    symbol = symbol * checker1.places
    mean2, index2 = conditioned(symbol, "odd", low_sums)
    symbol2 = code_pass(checker2, mean2, index2)
    mean = torch.where(checker1.places, mean, mean2)
    index = torch.where(checker1.places, index, index2)
    symbol = torch.where(checker1.places, symbol, symbol2)
    high_mean, high_index = conditioned(symbol, "rest", unconditioned(high.channels))
    high_symbol = code_pass(high, high_mean, high_index)
    return Coded(
        torch.cat([mean, high_mean], dim=1),
        torch.cat([index, high_index], dim=1),
        torch.cat([symbol, high_symbol], dim=1),
    )


def shapes(latent: int, wide: int, low: int, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the integer tensors for M = `latent`, W = `wide`, C = `low` and K = `inner` channels."""
    for name, channels in (("odd", low), ("rest", latent - low)) if low else ():
        points = {"enter": (inner, low), "mix": (wide, inner + wide), "widen": (inner, wide), "join": (wide, inner)}
        for layer, shape in (points | {"filter": (inner, 9), "second": (inner, 9)}).items():
            yield f"{name}.{layer}.weight", shape
            yield f"{name}.{layer}.bias", shape[:1]
        yield f"{name}.leave.weight", (2 * channels, wide)
