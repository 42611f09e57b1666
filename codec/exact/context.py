"""Context: what a tile's low channels tell about the symbols that follow, in exact integers.

A tile's symbols are coded in three passes. First those of the low channels, the latents of most variance, at every
other place, like the white fields of a checkerboard; then theirs at the places between, knowing their neighbours; then
all other channels, knowing the low ones. Means and scale indices are sums over what the hyper-synthesis says and, in
the later passes, over what those symbols say. The checkerboard is that of He et al., "Checkerboard Context Model for
Efficient Learned Image Compression", CVPR 2021; coding some channels first is Minnen and Singh, "Channel-wise
Autoregressive Entropy Models", ICIP 2020. A model without context codes all its symbols in one pass.

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
SYMBOL_ONE = 8  # a symbol counts as an activation of this
SYMBOL_SEEN = 255  # symbols beyond are seen as this, so that they make no larger activations than all else


@dataclass(frozen=True)
class Pass:
    """What one pass codes: a slice of the channels, at the places that are true in `places` (h, w), all if None."""

    channels: slice
    places: Tensor | None


Visit = Callable[[Pass, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Coded:
    """Mean (1/32 of a step), scale index and symbol of every latent, each (B, M, h, w)."""

    mean: Tensor
    index: Tensor
    symbol: Tensor


def low_channels(weights: Mapping[str, Tensor]) -> int:
    """How many channels are coded first, 0 for a model without context."""
    return weights["odd.enter.weight"].shape[1] if "odd.enter.weight" in weights else 0


def white(height: int, width: int, device: torch.device = CPU) -> Tensor:
    """(h, w) truth values: the places whose row and column add up to an even number."""
    rows, columns = (torch.arange(edge, device=device) for edge in (height, width))
    return (rows[:, None] + columns) % 2 == 0


def passes(low: int, shape: Sequence[int], device: torch.device = CPU) -> list[Pass]:
    """The passes of a tile of latents (M, h, w), of which `low` channels are coded first, in the order of coding."""
    latent, height, width = shape
    if not low:
        return [Pass(slice(0, latent), None)]
    first, lows = white(height, width, device), slice(0, low)
    return [Pass(lows, first), Pass(lows, ~first), Pass(slice(low, latent), None)]


def split(values: NDArray, low: int) -> list[NDArray]:
    """The values (M, h, w) of a tile as the passes take them, each in raster order."""
    return [
        values[part.channels] if part.places is None else values[part.channels, part.places.numpy()]
        for part in passes(low, values.shape)
    ]


def _said(symbols: Tensor, features: Tensor, weights: Mapping[str, Tensor], name: str, a: Arithmetic) -> Tensor:
    """What a pass learns from the low channels' symbols (B, C, h, w), 0 where unknown, as features (B, W, h, w)."""
    x = a.clamp(SYMBOL_ONE * symbols, -SYMBOL_ONE * SYMBOL_SEEN, SYMBOL_ONE * SYMBOL_SEEN)
    x = a.depth(a.point(x, weights, f"{name}.enter"), weights, f"{name}.filter")  # (B, K, h, w)
    x = a.point(torch.cat([x, features], dim=1), weights, f"{name}.mix")  # (B, K + W, h, w) -> (B, W, h, w)
    beside = a.depth(a.point(x, weights, f"{name}.widen"), weights, f"{name}.second")  # (B, K, h, w)
    beside = a.pointwise(beside, weights[f"{name}.join.weight"], weights[f"{name}.join.bias"])  # (B, W, h, w)
    return a.activation(torch.add(beside, x, alpha=hyper.WEIGHT_ONE))


def code(
    features: Tensor, quality: Tensor, weights: Mapping[str, Tensor], visit: Visit, arithmetic: Arithmetic = EXACT
) -> Coded:
    """Run a tile's passes.

    Args:
        features: (B, W, h, w), of the hyper-synthesis, cut to the tile's h x w places.
        quality: (B,), fixed-point.
        weights: the integer tensors of `shapes`' names beside the hyper-synthesis' own.
        visit: called for each pass with its channels' means and scale indices, (B, D, h, w), and returns their symbols
            (B, D, h, w); at places that the pass does not code all of these are disregarded.
    """
    bias = hyper.level_bias(weights["level.leave"], quality, arithmetic)  # (B, 2M)
    means, indices = weights["point4.weight"].chunk(2)  # each (M, W)
    mean_bias, index_bias = bias.chunk(2, dim=1)
    low, latent = low_channels(weights), len(means)

    def total(channels: slice) -> Tensor:
        """Sums of some channels' means and indices by the features alone, (B, 2D, h, w)."""
        both = torch.cat([mean_bias[:, channels], index_bias[:, channels]], dim=1)  # (B, 2D)
        return arithmetic.sums(features, torch.cat([means[channels], indices[channels]]), both)

    def knowing(symbols: Tensor, name: str, total: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale index, (B, D, h, w), by the features and by what pass `name` knows besides."""
        said = _said(symbols, features, weights, name, arithmetic)
        return arithmetic.parameters(add(arithmetic.sums(said, weights[f"{name}.leave.weight"], None), total))

    first, *later = passes(low, (latent, *features.shape[-2:]), features.device)
    of_first = total(first.channels)
    mean, index = arithmetic.parameters(of_first)  # (B, C, h, w)
    symbol = visit(first, mean, index)
    if not later:
        return Coded(mean, index, symbol)
    odd, rest = later
    symbol = symbol * first.places
    odd_mean, odd_index = knowing(symbol, "odd", of_first)
    odd_symbol = visit(odd, odd_mean, odd_index)
    mean = torch.where(first.places, mean, odd_mean)
    index = torch.where(first.places, index, odd_index)
    symbol = torch.where(first.places, symbol, odd_symbol)
    rest_mean, rest_index = knowing(symbol, "rest", total(rest.channels))
    rest_symbol = visit(rest, rest_mean, rest_index)
    return Coded(
        torch.cat([mean, rest_mean], dim=1),
        torch.cat([index, rest_index], dim=1),
        torch.cat([symbol, rest_symbol], dim=1),
    )


def shapes(latent: int, wide: int, low: int, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the integer tensors for M = `latent`, W = `wide`, C = `low` and K = `inner` channels."""
    for name, channels in (("odd", low), ("rest", latent - low)) if low else ():
        points = {"enter": (inner, low), "mix": (wide, inner + wide), "widen": (inner, wide), "join": (wide, inner)}
        for layer, shape in (points | {"filter": (inner, 9), "second": (inner, 9)}).items():
            yield f"{name}.{layer}.weight", shape
            yield f"{name}.{layer}.bias", shape[:1]
        yield f"{name}.leave.weight", (2 * channels, wide)
