"""Between real numbers and symbols: rate-distortion optimised rounding, and reconstruction at the centroids.

All quantities count quantisation steps; r = gained y - mean is what a symbol stands for.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lapic.bitstream import Tables
from lapic.bitstream.entropy import SYMBOL_MAX, half_width
from lapic.codec.exact.context import CodePass, Pass
from lapic.codec.exact.hyper import MEAN_ONE

# Rounding r to s costs KAPPA (r - s)^2 + bits(s). For a uniform quantiser of step D at high rate the slope -dR/dMSE is
# 6 / (ln 2 D^2), which makes 8.66; on held-out pictures 12 is best (4 % fewer bits than plain rounding).
KAPPA = 12.0
OUTLIER_MAX = 2  # magnitudes up to this become 0 at scale index 0, see `zero_outliers`
DETAIL = 4  # magnitudes 0, 1, 2 and "3 or more" have thresholds and centroids of their own; those of 0 are 0


def thresholds(tables: Tables) -> Tensor:
    """(64, 4): how far beyond the midpoint, 0..0.45 steps, |r| must lie to be rounded up to magnitude 1, 2, 3 or more.

    From KAPPA (2|r| - 2m + 1) > bits(m) - bits(m - 1), the condition that magnitude m is worth its bits."""
    rows = []
    for counts in tables.latent:
        width = half_width(counts)
        bits = -np.log2(counts[width : 2 * width + 1].astype(np.float64))  # of magnitudes 0..w
        steps = np.diff(bits)[: DETAIL - 1]
        rows.append(np.pad(steps, (0, DETAIL - 1 - len(steps)), mode="edge") / (2 * KAPPA))
    return F.pad(torch.from_numpy(np.clip(rows, 0, 0.45)).float(), (1, 0))


def _look_up(table: Tensor, index: Tensor, magnitude: Tensor) -> Tensor:
    """table[index, min(magnitude, 3)] for a (64, 4) table and float tensors of whole numbers."""
    cell = torch.add(magnitude.clamp(max=DETAIL - 1), index, alpha=DETAIL).to(torch.int32)
    return table.flatten().index_select(0, cell.flatten()).reshape(index.shape)


def residual_of(latent: Tensor, part: Pass, mean: Tensor) -> Tensor:
    """The residuals r, (B, D, h, w), of a pass: its channels of the gained latents (B, M, h, w) less their means, which
    count 1 / MEAN_ONE."""
    return latent[:, part.channels] - mean / MEAN_ONE


def pass_quantiser(gained: Tensor, threshold: Tensor) -> CodePass:
    """The `code_pass` of `run_passes` that quantises gained latents (B, M, h, w) against their means."""

    def code_pass(part: Pass, mean: Tensor, index: Tensor) -> Tensor:
        return quantise(residual_of(gained, part, mean), index, threshold)

    return code_pass


def beyond(least: float, compute: Callable[..., Tensor], residual: Tensor, *others: Tensor) -> Tensor:
    """What `compute` makes of residuals r with |r| > `least` and of what the other tensors of their shape hold there,
    all as (N,); elsewhere 0. Most residuals are small, so this takes a fraction of the time."""
    places = (residual.abs() > least).flatten().nonzero()[:, 0]
    made = compute(*(one.flatten()[places] for one in (residual, *others)))
    return residual.new_zeros(residual.numel()).index_copy_(0, places, made).reshape(residual.shape)


def quantise(residual: Tensor, index: Tensor, threshold: Tensor) -> Tensor:
    """Symbols for residuals r and scale indices of the same shape: round to nearest, or towards zero where the table
    makes the larger magnitude cost too many bits. Values within +-32767, dtype of r."""
    rounded = partial(_rounded, threshold)
    return beyond(0.5, rounded, residual, index) if residual.device.type == "cpu" else rounded(residual, index)


def _rounded(threshold: Tensor, residual: Tensor, index: Tensor) -> Tensor:
    magnitude = residual.abs()
    nearest = magnitude.round()
    limit = nearest - 0.5 + _look_up(threshold, index, nearest)
    symbol = (nearest - (magnitude < limit).to(nearest.dtype)).clamp_(0, SYMBOL_MAX)
    return zero_outliers(symbol.copysign(residual), index)


def zero_outliers(symbol: Tensor, index: Tensor) -> Tensor:
    """The symbols with 0 for magnitudes up to OUTLIER_MAX at scale index 0, of the same shape.

    Scale index 0, that of most latents of a picture, is coded only if one of its symbols is not 0. One in ten million
    would cost the coding of all of them, several times as many as there are others, and 20 bits itself."""
    return symbol.masked_fill((index == 0) & (symbol.abs() <= OUTLIER_MAX), 0)


def dequantise(symbol: Tensor, index: Tensor, centroid: Tensor) -> Tensor:
    """Reconstruction r^ = s - sign(s) |centroid[index, |s|]|: about the mean of all residuals that became that symbol.

    Args:
        centroid: (64, 4) shifts towards zero for magnitudes 0, 1, 2 and 3 or more, in steps; part of the model. Some
            in the first models are negative, by a few hundredths, and mean the same, so that files decode as they did.
    """
    return symbol - _look_up(centroid, index, symbol.abs()).copysign(symbol)
