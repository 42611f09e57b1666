"""Telling drawn pictures, such as text, line art, screenshots and patterns, from photos."""

import numpy as np
from numpy.typing import NDArray

SEEN = 1 << 19  # pixels that are looked at, in rows spread over the picture
GENTLE = 8  # grey levels that neighbours differ by at most where light falls off
MOST_GENTLE = 0.12  # of the neighbours of a drawn picture; photos of many equal pixels have 0.19 and more
LEAST_EQUAL = 0.45  # of a drawn picture's neighbours in one direction; photos in 256 dithered colours have up to 0.4


def is_drawn(pixels: NDArray[np.uint8]) -> bool:
    """Whether pixels (H, W, 3) or (H, W) are drawn: in one of four directions nearly half of them equal the next pixel,
    and where neighbours differ they differ clearly. Noise, and any photo but one of almost a single colour, has few
    equal neighbours; photos have gentle slopes everywhere."""
    if min(pixels.shape[:2]) < 2 or pixels.shape[1] < 3:
        return False
    planes = pixels.reshape(*pixels.shape[:2], -1)
    step = max(1, planes.shape[0] * planes.shape[1] // SEEN)
    upper, lower = (planes[:-1][::step].astype(np.int16), planes[1:][::step].astype(np.int16))  # (R, W, C)
    here = upper[:, 1:-1]
    differences = [
        np.abs(here - other).max(2) for other in (upper[:, :-2], lower[:, 1:-1], lower[:, :-2], lower[:, 2:])
    ]  # left, below and both diagonals, (R, W - 2)
    equal = max((difference == 0).mean() for difference in differences)
    gentle = np.mean([(difference > 0) & (difference <= GENTLE) for difference in differences[:2]])
    return bool(equal >= LEAST_EQUAL and gentle <= MOST_GENTLE)
