"""What the networks of both generations are made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.nets import levels as levels_module


def silu(x: Tensor) -> Tensor:
    """SiLU of a tensor that is not used again: in place unless gradients are kept, since new memory takes the time."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def modulate(x: Tensor, row: Tensor) -> Tensor:
    """x (1 + a) + b for features (B, C, h, w) and rows (B, 2C) of a and b."""
    scale, shift = row.to(x.dtype)[:, :, None, None].chunk(2, dim=1)
    return (x + shift).addcmul_(x, scale)


class Modulation(nn.Module):
    """Scale and shift features by quality: x (1 + a(q)) + b(q), rows of a and b per rate level, interpolated."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(levels, 2 * channels))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """x (B, C, h, w) and fixed-point qualities (B,) -> (B, C, h, w)."""
        return modulate(x, levels_module.interpolate_levels(self.table, quality))
