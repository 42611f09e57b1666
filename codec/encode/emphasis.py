"""Regions that matter: from how much errors count at each place to a map of qualities.

The search takes a unit of square error to be worth 2^(1/STEPS) as many bits for each quality more (codec.encode.rate).
So a place whose errors count twice as much gets STEPS qualities more than the rest of the picture: smaller
quantisation steps, and the same rule weighs its errors in the search and in the fit of the filter.
"""

import math

import numpy as np
from numpy.typing import NDArray

from lapic.bitstream.container import QUALITY_MAP
from lapic.bitstream.quality_map import write_map
from lapic.codec.encode.rate import LAMBDA_RANGE
from lapic.codec.model.codec_weights import Model

GRAIN = 4  # qualities differ by multiples of this, which maps of few bytes hold
STEPS = 99 * math.log(2) / math.log(LAMBDA_RANGE[1] / LAMBDA_RANGE[0])  # qualities that double what errors are worth
BEYOND = 1.2  # times the highest quality that a model was trained for, beyond which its pictures may break

Weights = NDArray[np.float64]  # of places, (rows, columns): what an error counts there


def widest(weights: Weights) -> float:
    """How many qualities the places of most weight lie above those of least."""
    return STEPS * math.log2(weights.max() / weights.min())


def chunk(model: Model, quality: float, weights: Weights | None) -> dict[bytes, bytes]:
    """The chunk that says where a file of this quality is finer; none where all of it is alike.

    Qualities end where the model's pictures may break.
    """
    if weights is None:
        return {}
    room = max(0, math.floor(min(BEYOND * model.qualities[1], 100) - quality))
    offsets = (GRAIN * np.rint(STEPS / GRAIN * np.log2(weights / weights.min()))).clip(0, room).astype(np.int8)
    return {QUALITY_MAP: write_map(offsets)} if offsets.any() else {}
