"""Context: what a tile's low channels tell about the symbols that follow, in exact integers.

A tile's symbols are coded in three passes. First those of the low channels, the latents of most variance, at every
other place, like the white fields of a checkerboard; then theirs at the places between, knowing their neighbours; then
all other channels, knowing the low ones. Each later pass adds to the sums from which the hyper-synthesis makes mean and
scale index. The checkerboard is that of He et al., "Checkerboard Context Model for Efficient Learned Image
Compression", CVPR 2021; coding some channels first is Minnen and Singh, "Channel-wise Autoregressive Entropy Models",
ICIP 2020. A model without context codes all its symbols in one pass.

The rules that keep `codec.hyper` exact hold here too.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec import hyper
from codec.hyper import Clamp, Round
from codec.model import Model
from codec.pyramid import add
from codec.quantise import dequantise

SYMBOL_SEEN = 63  # symbols beyond are seen as this, so that 32 times a symbol is an activation
SUM_LIMIT = 2**23 - 1  # of each of two sums that are added


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


def white(height: int, width: int) -> NDArray[np.bool_]:
    """(h, w): the places whose row and column add up to an even number."""
    return np.add.outer(np.arange(height), np.arange(width)) % 2 == 0


def split(values: NDArray, low: int) -> list[NDArray]:
    """The values (M, h, w) of a tile as the passes take them, each in raster order."""
    if not low:
        return [values]
    first = white(*values.shape[1:])
    return [values[:low, first], values[:low, ~first], values[low:]]


def _more(
    symbols: Tensor, features: Tensor, weights: Mapping[str, Tensor], name: str, floor: Round, clamp: Clamp
) -> Tensor:
    """What the low channels' symbols (B, C, h, w), 0 where unknown, add to a pass's sums, (B, 2D, h, w)."""

    def act(total: Tensor) -> Tensor:
        return hyper.activation(total, floor, clamp)

    seen = clamp(32 * symbols, -32 * SYMBOL_SEEN, 32 * SYMBOL_SEEN)
    x = act(hyper.pointwise(seen, weights[f"{name}.enter.weight"], weights[f"{name}.enter.bias"]))  # (B, K, h, w)
    x = act(hyper.depthwise(x, weights[f"{name}.filter.weight"], weights[f"{name}.filter.bias"]))
    x = torch.cat([x, features], dim=1)  # (B, K + W, h, w)
    x = act(hyper.pointwise(x, weights[f"{name}.mix.weight"], weights[f"{name}.mix.bias"]))  # (B, W, h, w)
    return hyper.pointwise(x, weights[f"{name}.leave.weight"], None)


@hyper.full_precision()
def code(
    features: Tensor,
    sums: Tensor,
    weights: Mapping[str, Tensor],
    visit: Visit,
    floor: Round = torch.floor_,
    clamp: Clamp = torch.clamp_,
) -> Coded:
    """Run a tile's passes.

    Args:
        features: (B, W, h, w) and
        sums: (B, 2M, h, w), of the hyper-synthesis, cut to the tile's h x w places.
        weights: the integer tensors of `shapes`' names beside the hyper-synthesis' own.
        visit: called for each pass with its channels' means and scale indices, (B, D, h, w), and returns their symbols
            (B, D, h, w); at places that the pass does not code all of these are disregarded.
        floor, clamp: as for `codec.hyper.hyper_synthesis`.
    """
    low = low_channels(weights)
    latent = sums.shape[1] // 2
    if not low:
        mean, index = hyper.parameters(sums, floor, clamp)
        return Coded(mean, index, visit(Pass(slice(0, latent), None), mean, index))
    first = torch.from_numpy(white(*sums.shape[-2:])).to(sums.device)
    base_low, base_rest = (
        clamp(torch.cat([sums[:, start:end], sums[:, latent + start : latent + end]], dim=1), -SUM_LIMIT, SUM_LIMIT)
        for start, end in ((0, low), (low, latent))
    )

    def with_context(total: Tensor, name: str) -> tuple[Tensor, Tensor]:
        more = clamp(_more(symbol, features, weights, name, floor, clamp), -SUM_LIMIT, SUM_LIMIT)
        return hyper.parameters(add(more, total), floor, clamp)

    mean, index = hyper.parameters(base_low, floor, clamp)  # (B, C, h, w)
    symbol = visit(Pass(slice(0, low), first), mean, index) * first
    odd_mean, odd_index = with_context(base_low, "odd")
    odd_symbol = visit(Pass(slice(0, low), ~first), odd_mean, odd_index)
    mean = torch.where(first, mean, odd_mean)
    index = torch.where(first, index, odd_index)
    symbol = torch.where(first, symbol, odd_symbol)
    rest_mean, rest_index = with_context(base_rest, "rest")
    rest_symbol = visit(Pass(slice(low, latent), None), rest_mean, rest_index)
    return Coded(
        torch.cat([mean, rest_mean], dim=1),
        torch.cat([index, rest_index], dim=1),
        torch.cat([symbol, rest_symbol], dim=1),
    )


def code_latents(model: Model, z: Tensor, quality: Tensor, size: tuple[int, int], visit: Visit) -> Coded:
    """A tile's passes from its hyper-latent.

    Args:
        z: (B, Z, h4, w4). quality: (B,), fixed-point. size: h and w of the tile in latents. visit: as for `code`.
    """
    features, sums = hyper.hyper_synthesis(z, quality, model.integers)
    features, sums = (part[..., : size[0], : size[1]] for part in (features, sums))
    return code(features, sums, model.integers, visit)


def shown_latents(model: Model, coded: Coded) -> Tensor:
    """y^ in steps, (B, M, h, w)."""
    return coded.mean / hyper.MEAN_ONE + dequantise(coded.symbol, coded.index, model.centroid)


def shapes(latent: int, wide: int, low: int, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the integer tensors for M = `latent`, W = `wide`, C = `low` and K = `inner` channels."""
    for name, channels in (("odd", low), ("rest", latent - low)) if low else ():
        yield f"{name}.enter.weight", (inner, low)
        yield f"{name}.enter.bias", (inner,)
        yield f"{name}.filter.weight", (inner, 9)
        yield f"{name}.filter.bias", (inner,)
        yield f"{name}.mix.weight", (wide, inner + wide)
        yield f"{name}.mix.bias", (wide,)
        yield f"{name}.leave.weight", (2 * channels, wide)
