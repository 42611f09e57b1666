"""The exact hyper-synthesis in training form: the same integers forward, gradients backward."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.exact import context, hyper
from lapic.codec.nets.config import Config
from lapic.codec.nets.layers import precise_product

WEIGHT_LIMIT = 127  # |integer weight| of pointwise layers, so that int8 holds it
FILTER_LIMIT = 1023  # |integer weight| of depthwise layers


def straight_through(exact: Tensor, smooth: Tensor) -> Tensor:
    """The value of `exact`, to the bit, with the gradient of `smooth`."""
    return exact.detach() + (smooth - smooth.detach())


class _Floor(torch.autograd.Function):
    """Floor with the gradient of the identity."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


class _Clamp(torch.autograd.Function):
    """torch.clamp of whole numbers, with its gradient in one pass over the memory."""

    @staticmethod
    def forward(ctx, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.limits = low - 0.5, high + 0.5
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, x, *ctx.limits), None, None


def _quick_pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`hyper.pointwise` in autocast's precision."""
    out = F.conv2d(x, weight[:, :, None, None])
    return out if bias is None else out + bias.reshape(-1, weight.shape[0], 1, 1).to(out.dtype)


def _quick_sums(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`hyper.pointwise` in float32: bfloat16 would round large means by half a step."""
    out = precise_product(x.float().permute(0, 2, 3, 1), weight, torch.bfloat16).permute(0, 3, 1, 2)
    return out if bias is None else out + bias.reshape(-1, weight.shape[0], 1, 1)


def _quick_depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`hyper.depthwise` in autocast's precision."""
    return F.conv2d(x, weight.reshape(-1, 1, 3, 3), bias, padding=1, groups=len(weight))


# EXACT gives the shipped integers; QUICK approximates them in a third of the time.
EXACT = hyper.Arithmetic(floor=_Floor.apply, clamp=_Clamp.apply)
QUICK = hyper.Arithmetic(_quick_pointwise, _quick_sums, _quick_depthwise, _Floor.apply, _Clamp.apply)


class HyperSynthesis(nn.Module):
    """Float parameters in natural units whose rounded values are the integers that will ship."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        wide = config.hyper_wide
        self.names = hyper.shapes(config.latent, config.hyper, wide, config.hyper_narrow, config.levels)
        self.names |= context.shapes(config.latent, wide, config.context, config.context_inner)
        self.parameters_by_name = nn.ParameterDict()
        for name, shape in self.names.items():
            value = torch.zeros(shape)
            if name.endswith("weight") and shape[1] == 9:
                value.normal_(0, 0.1)[:, 4] += 1
            elif name.endswith("weight") and not name.endswith(("leave.weight", "join.weight")):
                value.normal_(0, (2 / shape[1]) ** 0.5)  # the others start at zero
            self.parameters_by_name[name.replace(".", "_")] = nn.Parameter(value)
        with torch.no_grad():
            self.parameters_by_name["point4_weight"] *= 0.02
            self.parameters_by_name["level_leave"][:, config.latent :] = 1.0  # scale index 16: a scale near 0.8
        self.keep_exact()

    def integers(self, smooth: bool = False) -> dict[str, Tensor]:
        """The integer tensors of `codec.exact.hyper.shapes` as float32, straight-through if `smooth`."""
        out = {}
        for name in self.names:
            value = self.parameters_by_name[name.replace(".", "_")]
            value = value * (hyper.WEIGHT_ONE if name.endswith("weight") else hyper.SUM_ONE)
            out[name] = straight_through(value.round(), value) if smooth else value.detach().round()
        return out

    @torch.no_grad()
    def set_scales(self, scales: Tensor) -> None:
        """Start from these scales, (L, M) in quantisation steps, for each rate level and latent channel."""
        low, high = hyper.SCALE_RANGE
        index = (scales / low).log() * ((hyper.SCALES - 1) / math.log(high / low))
        value = index.clamp(0, hyper.SCALES - 1) * (hyper.INDEX_STEP / hyper.SUM_ONE)
        self.parameters_by_name["level_leave"][:, scales.shape[1] :] = value

    @torch.no_grad()
    def set_integers(self, integers: dict[str, Tensor]) -> None:
        """Set the parameters so that `integers` returns these."""
        for name in self.names:
            one = hyper.WEIGHT_ONE if name.endswith("weight") else hyper.SUM_ONE
            self.parameters_by_name[name.replace(".", "_")].copy_(integers[name].float() / one)

    def forward(self, z: Tensor, quality: Tensor, code_pass: context.CodePass, quick: bool = False) -> context.Coded:
        """As `codec.exact.hyper.hyper_synthesis` and `codec.exact.context.run_passes` after it, differentiable in z, in
        the symbols and in the parameters. With `quick` it is approximate, in autocast's precision."""
        arithmetic, enabled = (QUICK, torch.is_autocast_enabled(z.device.type)) if quick else (EXACT, False)
        with torch.autocast(z.device.type, enabled=enabled):
            weights = self.integers(smooth=True)
            features = hyper.hyper_synthesis(z.float(), quality, weights, arithmetic)
            return context.run_passes(features, quality, weights, code_pass, arithmetic)

    @torch.no_grad()
    def keep_exact(self, margin: float = 0.9) -> None:
        """Keep weights within their limits and partial sums in float32's exact range; called after a step."""
        largest = margin * 2**24 / hyper.ACTIVATION_MAX / hyper.WEIGHT_ONE  # in natural units
        for name in self.names:
            if name.endswith("weight"):
                value = self.parameters_by_name[name.replace(".", "_")]
                limit = (FILTER_LIMIT if value.shape[1] == 9 else WEIGHT_LIMIT) / hyper.WEIGHT_ONE
                norm = value.clamp_(-limit, limit).abs().sum(1, keepdim=True)
                value.mul_((largest / norm).clamp(max=1.0))
