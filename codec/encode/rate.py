"""The cost of symbols and errors, in bits."""

import numpy as np
import torch
from torch import Tensor

from lapic.bitstream import Tables
from lapic.bitstream.entropy import PRECISION, half_width
from lapic.codec.nets import levels

LARGEST = 255  # larger magnitudes are taken to cost as much as this one
LAMBDA_RANGE = (0.0007, 0.25)  # quality 1 and quality 100


def rate_weight(quality: Tensor) -> Tensor:
    """Lambda of the objective lambda x 255^2 x MSE + bpp, geometric in fixed-point qualities of any shape."""
    low, high = LAMBDA_RANGE
    return low * (high / low) ** ((quality - levels.QUALITY_ONE).float() / levels.QUALITY_SPAN)


def error_weight(quality: Tensor) -> Tensor:
    """Bits that a unit of summed square error in -1..1 is worth at fixed-point qualities of any shape."""
    return rate_weight(quality) * 127.5**2 / 3


def symbol_bits(tables: Tables) -> Tensor:
    """The cost of a symbol of magnitude 0..LARGEST at each scale index, (64, LARGEST + 1) in bits.

    Beyond a table's width it is that of the escape and about two bits for each doubling. A 0 at scale index 0 is free,
    since that index is coded only if one of its symbols is not 0."""
    rows = []
    for counts in tables.latent:
        cost = PRECISION - np.log2(counts.astype(np.float64))
        width = half_width(counts)
        beyond = cost[-1] + 2 + 2 * np.log2(np.arange(1, LARGEST + 2))
        rows.append(np.concatenate([cost[width : 2 * width + 1], beyond])[: LARGEST + 1])
    rows[0] = np.where(np.arange(LARGEST + 1) == 0, 0.0, rows[0])
    return torch.from_numpy(np.stack(rows)).float()


def cost_of(bits: Tensor, symbol: Tensor, index: Tensor) -> Tensor:
    """The cost in bits of symbols (whole numbers) at their scale indices, all of the same shape, by `symbol_bits`."""
    cell = symbol.abs().clamp(max=LARGEST) + index * bits.shape[1]
    return bits.flatten().index_select(0, cell.flatten().to(torch.int32)).reshape(symbol.shape)
