"""Between real numbers and symbols: rate-distortion optimised rounding, and reconstruction at the centroids.

All quantities count quantisation steps; r = gained y - mean is what a symbol stands for.
"""

import numpy as np
import torch
from torch import Tensor

from bitstream import Tables

SYMBOL_MAX = 32767
# Rounding r to s costs KAPPA (r - s)^2 + bits(s). For a uniform quantiser of step D at high rate the slope -dR/dMSE is
# 6 / (ln 2 D^2), so 8.66 is right where a latent's error reaches the picture with unit gain.
KAPPA = 8.66
DETAIL = 3  # magnitudes 1, 2 and "3 or more" have thresholds and centroids of their own


def thresholds(tables: Tables) -> Tensor:
    """(64, 3): how far beyond the midpoint, 0..0.45 steps, |r| must lie to be rounded up to magnitude 1, 2, 3 or more.

    From KAPPA (2|r| - 2m + 1) > bits(m) - bits(m - 1), the condition that magnitude m is worth its bits."""
    rows = []
    for counts in tables.latent:
        width = len(counts) // 2 - 1
        bits = -np.log2(counts[width : 2 * width + 1].astype(np.float64))  # of magnitudes 0..w
        steps = np.diff(bits)[:DETAIL]
        rows.append(np.pad(steps, (0, DETAIL - len(steps)), mode="edge") / (2 * KAPPA))
    return torch.from_numpy(np.clip(rows, 0, 0.45)).float()


def quantise(residual: Tensor, index: Tensor, threshold: Tensor) -> Tensor:
    """Symbols for residuals r and scale indices of the same shape: round to nearest, or towards zero where the table
    makes the larger magnitude too dear. Values within +-32767, dtype of r."""
    magnitude = residual.abs()
    nearest = magnitude.round()
    column = nearest.clamp(1, DETAIL).long() - 1
    extra = threshold.flatten()[index.long() * DETAIL + column]
    symbol = torch.where(magnitude < nearest - 0.5 + extra, nearest - 1, nearest).clamp(0, SYMBOL_MAX)
    return symbol.copysign(residual)


def dequantise(symbol: Tensor, index: Tensor, centroid: Tensor) -> Tensor:
    """Reconstruction r^ = s - sign(s) centroid[index, |s|]: the mean of all residuals that became that symbol.

    Args:
        centroid: (64, 3) shifts towards zero for magnitudes 1, 2 and 3 or more, in steps; part of the model.
    """
    column = symbol.abs().clamp(1, DETAIL).long() - 1
    return symbol - symbol.sign() * centroid.flatten()[index.long() * DETAIL + column]
