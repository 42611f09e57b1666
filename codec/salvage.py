"""What to show where tiles are missing: their surroundings, continued smoothly."""

import numpy as np
from numpy.typing import NDArray

from codec.tiling import Rect


def fill(pixels: NDArray[np.uint8], holes: list[Rect]) -> None:
    """Fill rectangles of a picture (H, W) or (H, W, C), in place, from what is around them.

    Push-pull interpolation (Gortler et al., "The Lumigraph", SIGGRAPH 1996): known pixels are averaged down a pyramid
    until no hole is left, and each hole takes its value from the next coarser level.
    """
    known = np.ones(pixels.shape[:2], bool)
    for hole in holes:
        known[hole.top : hole.bottom, hole.left : hole.right] = False
    if not known.any():
        pixels[:] = 128
        return
    planes = pixels.reshape(*pixels.shape[:2], -1)
    filled = _push_pull(planes.astype(np.float32), known.astype(np.float32))
    planes[~known] = filled[~known].round().clip(0, 255).astype(np.uint8)


def _push_pull(values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values (H, W, C), with what is missing (weight 0) replaced."""
    if weight.all() or values.shape[0] * values.shape[1] == 1:
        return values
    rows, columns = values.shape[0] % 2, values.shape[1] % 2
    padded = np.pad(values * weight[..., None], ((0, rows), (0, columns), (0, 0)))
    weights = np.pad(weight, ((0, rows), (0, columns)))
    total = weights.reshape(weights.shape[0] // 2, 2, -1, 2).sum((1, 3))
    summed = padded.reshape(total.shape[0], 2, total.shape[1], 2, -1).sum((1, 3))
    coarse = _push_pull(summed / np.maximum(total, 1)[..., None], np.minimum(total, 1))
    return np.where(weight[..., None] > 0, values, _double(coarse)[: values.shape[0], : values.shape[1]])


def _double(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Twice the height and width, linearly interpolated."""
    for axis in (0, 1):
        before = np.concatenate([values.take([0], axis), values.take(range(values.shape[axis] - 1), axis)], axis)
        after = np.concatenate([values.take(range(1, values.shape[axis]), axis), values.take([-1], axis)], axis)
        pairs = np.stack([0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], axis + 1)
        shape = list(values.shape)
        shape[axis] *= 2
        values = pairs.reshape(shape)
    return values
