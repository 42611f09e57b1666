"""The factor of the grey-density method: the mean of the channels times an intensity factor, clipped."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

FACTORS = np.geomspace(0.1, 10, 4606)  # in steps of a thousandth


def fit_factor(pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> tuple[float, float]:
    """The factor with the least mean square error, over pairs of pictures (H, W, 3), and that error in dB of PSNR.

    The pictures are counted by the sum of their channels, 0..765, so that every factor is tried on all pixels.
    """
    count, total, squares = (np.zeros(766) for _ in range(3))
    for source, target in pairs:
        level = source.astype(np.int64).sum(axis=2).ravel()
        wanted = target.mean(axis=2).ravel()
        count += np.bincount(level, minlength=766)
        total += np.bincount(level, weights=wanted, minlength=766)
        squares += np.bincount(level, weights=wanted**2, minlength=766)
    made = np.clip(FACTORS[:, None] * np.arange(766) / 3, 0, 255)  # (factors, levels)
    error = (made**2 @ count - 2 * made @ total + squares.sum()) / count.sum()
    best = int(error.argmin())
    return float(FACTORS[best]), float(10 * np.log10(255**2 / max(error[best], 1e-9)))
