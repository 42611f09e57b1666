"""What the networks of both generations are made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.nets import levels as levels_module


def silu(x: Tensor) -> Tensor:
    """SiLU of a tensor that is not used again: in place unless gradients are kept, since new memory takes the time."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def asinh(x: Tensor) -> Tensor:
    """The inverse hyperbolic sine: log(1 + |x| + x^2 / (1 + sqrt(1 + x^2))) with the sign of x, since `torch.asinh`
    takes four times as long on a CPU."""
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return torch.asinh(x)
    size, square = x.abs(), x.square()
    return square.add(1).sqrt_().add_(1).reciprocal_().mul_(square).add_(size).log1p_().copysign_(x)


def modulate(x: Tensor, row: Tensor) -> Tensor:
    """x (1 + a) + b for features (B, C, h, w) and rows of a and b, (B, 2C) or of places (B, 2C, h / n, w / n)."""
    scale, shift = levels_module.spread_to(row.to(x.dtype), x.shape[2:]).chunk(2, dim=1)
    return (x + shift).addcmul_(x, scale)


class Modulation(nn.Module):
    """Scale and shift features by quality: x (1 + a(q)) + b(q), rows of a and b per rate level, interpolated."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(levels, 2 * channels))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """x (B, C, h, w) and fixed-point qualities (B,), or of places (B, h / n, w / n) -> (B, C, h, w)."""
        return modulate(x, levels_module.interpolate_levels(self.table, quality))


class _PreciseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, quick: torch.dtype) -> Tensor:
        ctx.save_for_backward(x.to(quick), weight.to(quick))
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.to(x.dtype)
        needs_x, needs_weight, _ = ctx.needs_input_grad
        to_x = (grad @ weight).float() if needs_x else None
        to_weight = (grad.flatten(0, -2).T @ x.flatten(0, -2)).float() if needs_weight else None
        return to_x, to_weight, None


def precise_product(x: Tensor, weight: Tensor, quick: torch.dtype) -> Tensor:
    """x weight^T in float32, whatever autocast says, with gradients computed in the type `quick`: half precision would
    cost quality at high rates, but only forward. x (..., C) and weight (D, C), float32 -> (..., D)."""
    with torch.autocast(x.device.type, enabled=False):
        if torch.is_grad_enabled() and quick != torch.float32:
            return _PreciseProduct.apply(x, weight, quick)
        return F.linear(x, weight)


def network_type(layer: nn.Conv2d, x: Tensor) -> torch.dtype:
    """The type that a layer computes in for features on x's device: autocast's, else that of its weights."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else layer.weight.dtype
