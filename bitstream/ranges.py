"""Checks of the numbers that a caller wants to have coded."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_range(name: str, numbers: NDArray[np.integer[Any]], low: int, high: int) -> None:
    """Raise TypeError unless all numbers are integers, ValueError unless they are within `low`..`high`."""
    if numbers.dtype.kind not in "iu":
        raise TypeError(f"{name} are integers, not {numbers.dtype}")
    if numbers.size and not low <= numbers.min() <= numbers.max() <= high:
        raise ValueError(f"{name} of {numbers.min()} to {numbers.max()} are outside of {low} to {high}")
