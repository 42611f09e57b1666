"""The scale indices by which coefficients of picture filters (codec.decode.picture_filter) are coded, from pictures."""

import numpy as np
import torch
from torch import Tensor

from lapic.bitstream import Tables
from lapic.codec.decode.picture_filter import FEATURES
from lapic.codec.encode.filter_fit import Statistics, fit
from lapic.codec.encode.rate import symbol_bits

FIRST = 16  # the scale index to begin with: a standard deviation of 0.8
ROUNDS = 3
PRIOR = 0.5  # weight of magnitude 0 and of magnitude 1 in each coefficient's statistics, in pictures


def filter_scales(tables: Tables, pictures: list[tuple[float, Statistics]]) -> Tensor:
    """Scale indices (3, FEATURES) of the model's `filter.scale`.

    How coefficients are rounded depends on their scale indices and these on the coefficients, so both are found by
    iteration.

    Args:
        pictures: the weight of an error (`codec.encode.rate.error_weight`) and the statistics of each picture.
    """
    bits = symbol_bits(tables).double().numpy()
    index = np.full((3, FEATURES), FIRST, np.uint8)
    for _ in range(ROUNDS):
        magnitudes = np.abs(np.stack([fit(one, weight, bits, index)[0] for weight, one in pictures])).astype(int)
        spent = [row[magnitudes].sum(0) + PRIOR * (row[0] + row[1]) for row in bits[1:]]
        index = np.stack(spent).argmin(0).astype(np.uint8) + 1  # index 0 can code nothing but 0
    return torch.from_numpy(index.astype(np.int32))
