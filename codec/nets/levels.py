"""Qualities in fixed point, and tables with a row for each rate level."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lapic.bitstream.container import QUALITY_ONE

QUALITY_SPAN = 99 * QUALITY_ONE


def fixed_point(quality: float, device: torch.device) -> Tensor:
    """A quality 1..100 as it stands in a file, 256..25600: (1,) int64."""
    return torch.tensor([round(quality * QUALITY_ONE)], device=device)


def interpolate_levels(table: Tensor, quality: Tensor) -> Tensor:
    """Interpolate a table with one row per rate level at fixed-point qualities.

    Args:
        table: (L, C), row 0 for quality 1, row L-1 for quality 100.
        quality: integers 256..25600 (quality x 256): (B,), or (B, h, w) of a picture whose places differ.

    Returns:
        (B, C) or (B, C, h, w) float64. For integers below 2^24 in the table the result times `QUALITY_SPAN` is exact.
    """
    if quality.ndim > 1:
        known, number = quality.unique(return_inverse=True)
        return interpolate_levels(table, known)[number].movedim(-1, 1)
    position = (quality.to(torch.int64) - QUALITY_ONE) * (table.shape[0] - 1)
    row = torch.clamp(position // QUALITY_SPAN, max=table.shape[0] - 2)
    fraction = (position - row * QUALITY_SPAN).to(torch.float64)[:, None]
    table = table.to(torch.float64)
    return (table[row] * (QUALITY_SPAN - fraction) + table[row + 1] * fraction) / QUALITY_SPAN


def broadcast_rows(rows: Tensor) -> Tensor:
    """Rows (B, C) as (B, C, 1, 1); those of a picture's places, (B, C, h, w), as they are."""
    return rows if rows.ndim == 4 else rows[:, :, None, None]


def spread_to(rows: Tensor, size: Sequence[int]) -> Tensor:
    """Rows of places, (B, C, h, w), at a size that is a multiple of theirs: each is repeated. Those that hold for all
    places, (B, C), as (B, C, 1, 1)."""
    rows = broadcast_rows(rows)
    times = size[0] // rows.shape[2]
    if times == 1 or rows.shape[2:].numel() == 1:
        return rows
    return rows.repeat_interleave(times, 2).repeat_interleave(times, 3)


def coarser(quality: Tensor, factor: int) -> Tensor:
    """Qualities (B, h, w) of places in squares of `factor` places, (B, ceil(h / factor), ceil(w / factor)): the mean of
    those that are there, rounded down. One quality for all, (B,), stays as it is."""
    if quality.ndim == 1:
        return quality
    beyond = -quality.shape[2] % factor, -quality.shape[1] % factor
    parts = F.pad(quality, (0, beyond[0], 0, beyond[1])).unflatten(2, (-1, factor)).unflatten(1, (-1, factor))
    there = F.pad(torch.ones_like(quality), (0, beyond[0], 0, beyond[1])).unflatten(2, (-1, factor))
    return parts.sum((2, 4)) // there.unflatten(1, (-1, factor)).sum((2, 4))


def nearest_level(quality: Tensor, levels: int) -> Tensor:
    """The rate level 0..`levels`-1 nearest to fixed-point qualities (B,), whose tables the hyper-latent has."""
    position = (quality.to(torch.int64) - QUALITY_ONE) * (levels - 1)
    return (2 * position + QUALITY_SPAN) // (2 * QUALITY_SPAN)
