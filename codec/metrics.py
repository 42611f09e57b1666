"""Measures of how far a decoded picture is from its original."""

import numpy as np
from numpy.typing import ArrayLike


def psnr(a: ArrayLike, b: ArrayLike) -> float:
    """Peak signal-to-noise ratio in dB of two 8-bit pictures of one shape, over all channels; infinite if equal."""
    mse = np.square(np.asarray(a).astype(np.float64) - np.asarray(b)).mean()
    return float(10 * np.log10(255**2 / mse)) if mse else float("inf")
