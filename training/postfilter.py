"""How wide each coefficient of the filters (codec.postfilter) spreads, as the scale index by which it is coded."""

import numpy as np
import torch
from torch import Tensor

from bitstream import Tables
from codec.postfilter import FEATURES, Statistics, fit
from codec.search import symbol_bits

FIRST = 16  # the scale index to begin with: a standard deviation of 0.8
ROUNDS = 3
DOUBT = 0.5  # a picture that is added to the others, of which each coefficient is 0 and 1 to equal parts


def filter_scales(tables: Tables, found: list[tuple[float, Statistics]]) -> Tensor:
    """Scale indices (3, FEATURES) of the model's `filter.scale`.

    How coefficients are rounded depends on their scale indices and these on the coefficients, so both are found in
    turns.

    Args:
        found: of each picture what an error is worth, as `codec.search.error_weight` gives it, and its statistics.
    """
    bits = symbol_bits(tables).double().numpy()
    index = np.full((3, FEATURES), FIRST, np.uint8)
    for _ in range(ROUNDS):
        magnitudes = np.abs(np.stack([fit(one, weight, bits, index)[0] for weight, one in found])).astype(int)
        spent = [row[magnitudes].sum(0) + DOUBT * (row[0] + row[1]) for row in bits[1:]]
        index = np.stack(spent).argmin(0).astype(np.uint8) + 1  # index 0 would cost nothing, until it is needed
    return torch.from_numpy(index.astype(np.int32))
