"""Telling drawn pictures, such as text, line art, screenshots and patterns, from photos."""

import numpy as np
from numpy.typing import NDArray

SEEN = 1 << 19  # pixels that are looked at, in rows spread over the picture
GENTLE = 8  # grey levels that neighbours differ by at most where light falls off
MOST_GENTLE = 0.12  # of the neighbours of a drawn picture; photos of many equal pixels have 0.19 and more
LEAST_EQUAL = 0.5  # of a drawn picture's pixels


def is_drawn(pixels: NDArray[np.uint8]) -> bool:
    """Whether pixels (H, W, 3) or (H, W) are drawn: half of them equal a neighbour, and where neighbours differ they
    differ clearly. Noise, and any photo but one of almost a single colour, has few equal neighbours; photos have gentle
    slopes everywhere."""
    if min(pixels.shape[:2]) < 2 or pixels.shape[1] < 3:
        return False
    planes = pixels.reshape(*pixels.shape[:2], -1)
    step = max(1, planes.shape[0] * planes.shape[1] // SEEN)
    upper, lower = (planes[:-1][::step].astype(np.int16), planes[1:][::step].astype(np.int16))  # (R, W, C)
    here = upper[:, 1:-1]
    left, below, *diagonal = (
        np.abs(here - other).max(2) for other in (upper[:, :-2], lower[:, 1:-1], lower[:, :-2], lower[:, 2:])
    )  # (R, W - 2)
    equal = np.logical_or.reduce([difference == 0 for difference in (left, below, *diagonal)])
    gentle = [(difference > 0) & (difference <= GENTLE) for difference in (left, below)]
    return bool(equal.mean() >= LEAST_EQUAL and np.mean(gentle) <= MOST_GENTLE)
