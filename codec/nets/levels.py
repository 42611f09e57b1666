"""Qualities in fixed point, and tables with a row for each rate level."""

import torch
from torch import Tensor

from lapic.bitstream.container import QUALITY_ONE

QUALITY_SPAN = 99 * QUALITY_ONE


def fixed_point(quality: float, device: torch.device) -> Tensor:
    """A quality 1..100 as it stands in a file, 256..25600: (1,) int64."""
    return torch.tensor([round(quality * QUALITY_ONE)], device=device)


def interpolate_levels(table: Tensor, quality: Tensor) -> Tensor:
    """Interpolate a table with one row per rate level at fixed-point qualities.

    Args:
        table: (L, C), row 0 for quality 1, row L-1 for quality 100.
        quality: (B,) integers 256..25600 (quality x 256).

    Returns:
        (B, C) float64. For integers below 2^24 in the table the result times `QUALITY_SPAN` is exact.
    """
    position = (quality.to(torch.int64) - QUALITY_ONE) * (table.shape[0] - 1)
    row = torch.clamp(position // QUALITY_SPAN, max=table.shape[0] - 2)
    fraction = (position - row * QUALITY_SPAN).to(torch.float64)[:, None]
    table = table.to(torch.float64)
    return (table[row] * (QUALITY_SPAN - fraction) + table[row + 1] * fraction) / QUALITY_SPAN


def nearest_level(quality: Tensor, levels: int) -> Tensor:
    """The rate level 0..`levels`-1 nearest to fixed-point qualities (B,), whose tables the hyper-latent has."""
    position = (quality.to(torch.int64) - QUALITY_ONE) * (levels - 1)
    return (2 * position + QUALITY_SPAN) // (2 * QUALITY_SPAN)
