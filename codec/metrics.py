"""Measures of how far a decoded picture is from its original."""

import numpy as np
from numpy.typing import ArrayLike


def psnr(a: ArrayLike, b: ArrayLike) -> float:
    """Peak signal-to-noise ratio in dB of two 8-bit pictures of one shape, over all channels; infinite if equal."""
    return psnr_of(float(np.square(np.asarray(a).astype(np.float64) - np.asarray(b)).mean()))


def psnr_of(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean square error of 8-bit values; infinite if there is none."""
    return float(10 * np.log10(255**2 / mse)) if mse else float("inf")
