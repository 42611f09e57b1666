"""What bits and errors cost."""

import numpy as np
import torch
from torch import Tensor

from lapic.bitstream import Tables
from lapic.bitstream.entropy import PRECISION, half_width
from lapic.codec.nets import levels

LARGEST = 255  # magnitudes from here on cost what escapes cost
LAMBDA_RANGE = (0.0007, 0.25)  # quality 1 and quality 100


def rate_weight(quality: Tensor) -> Tensor:
    """Lambda of the objective lambda x 255^2 x MSE + bpp, geometric in the fixed-point quality (B,)."""
    low, high = LAMBDA_RANGE
    return low * (high / low) ** ((quality - levels.QUALITY_ONE).float() / levels.QUALITY_SPAN)


def error_weight(quality: Tensor) -> Tensor:
    """Bits that a unit of summed square error in -1..1 is worth at fixed-point qualities (B,)."""
    return rate_weight(quality) * 127.5**2 / 3


def symbol_bits(tables: Tables) -> Tensor:
    """What a symbol of magnitude 0..LARGEST costs at each scale index, (64, LARGEST + 1) in bits. Beyond a table's
    width it is the escape and about two bits for each doubling; scale index 0 codes nothing but zeros for free."""
    rows = []
    for counts in tables.latent:
        cost = PRECISION - np.log2(counts.astype(np.float64))
        width = half_width(counts)
        beyond = cost[-1] + 2 + 2 * np.log2(np.arange(1, LARGEST + 2))
        rows.append(np.concatenate([cost[width : 2 * width + 1], beyond])[: LARGEST + 1])
    rows[0] = np.where(np.arange(LARGEST + 1) == 0, 0.0, rows[0])
    return torch.from_numpy(np.stack(rows)).float()


def cost_of(bits: Tensor, symbol: Tensor, index: Tensor) -> Tensor:
    """Bits of symbols of whole numbers at their scale indices, of the same shape."""
    cell = symbol.abs().clamp(max=LARGEST) + index * bits.shape[1]
    return bits.flatten().index_select(0, cell.flatten().to(torch.int32)).reshape(symbol.shape)
