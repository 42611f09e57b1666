"""Inpainting: unknown pixels are interpolated smoothly from their surroundings."""

import numpy as np
from numpy.typing import NDArray

from lapic.codec.picture.tiling import Rect


def fill(pixels: NDArray[np.uint8], holes: list[Rect]) -> None:
    """Fill rectangles of a picture (H, W) or (H, W, C), uint8, in place, from the pixels around them."""
    known = np.ones(pixels.shape[:2], bool)
    for hole in holes:
        known[hole.top : hole.bottom, hole.left : hole.right] = False
    fill_unknown(pixels, known)


def fill_unknown(pixels: NDArray[np.uint8], known: NDArray[np.bool_]) -> None:
    """Fill the pixels of a picture (H, W) or (H, W, C), uint8, that are not `known` (H, W), in place. All become 128 if
    none is known.

    Push-pull interpolation (Gortler et al., "The Lumigraph", SIGGRAPH 1996): known pixels are averaged down a pyramid
    until no hole is left, and each unknown pixel gets the value of the next coarser level.
    """
    if not known.any():
        pixels[:] = 128
        return
    planes = pixels.reshape(*pixels.shape[:2], -1)
    for channel in range(planes.shape[2]):
        plane = planes[..., channel]
        filled = _push_pull(plane.astype(np.float32), known.astype(np.float32))
        plane[~known] = filled[~known].round().clip(0, 255).astype(np.uint8)


def _push_pull(values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values (H, W), with what is missing (weight 0, else 1) replaced."""
    if weight.all():
        return values
    total = _sum_fours(weight)
    coarse = _push_pull(_sum_fours(values * weight) / np.maximum(total, 1), np.minimum(total, 1))
    finer = _double(coarse)[: values.shape[0], : values.shape[1]]
    np.copyto(finer, values, where=weight > 0)
    return finer


def _sum_fours(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sums of 2 x 2 neighbours, (H, W) -> (ceil(H/2), ceil(W/2)); beyond the border is 0."""
    padded = np.pad(values, [(0, edge % 2) for edge in values.shape])
    rows = padded[::2] + padded[1::2]
    return rows[:, ::2] + rows[:, 1::2]


def _double(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Twice the height and width, linearly interpolated."""
    rows = np.empty((2 * values.shape[0], values.shape[1]), np.float32)
    _interleave(values, rows)
    doubled = np.empty((rows.shape[0], 2 * rows.shape[1]), np.float32)
    _interleave(rows.T, doubled.T)
    return doubled


def _interleave(values: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write twice as many rows to `out`, a quarter of a row before and behind each of `values`."""
    far = 0.25 * values
    before, behind = out[::2], out[1::2]
    np.subtract(values, far, out=before)
    behind[:] = before
    before[0] += far[0]
    before[1:] += far[:-1]
    behind[:-1] += far[1:]
    behind[-1] += far[-1]
