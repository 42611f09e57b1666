"""Stage 1: the model in training form and its rate-distortion loss."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.compat import import_compressai
from lapic.codec.encode.rate import rate_weight
from lapic.codec.exact import hyper
from lapic.codec.exact.context import Coded, CodePass, Pass
from lapic.codec.exact.quantise import dequantise, quantise, residual_of
from lapic.codec.nets import levels as levels_module
from lapic.codec.nets.config import Config
from lapic.codec.nets.network import Transforms
from lapic.codec.nets.pyramid import reduce
from lapic.codec.picture.tiling import LATENT
from lapic.training.eye import Distortion, square_error
from lapic.training.hyper import HyperSynthesis, straight_through
from lapic.training.loop import Options

import_compressai()
from compressai.entropy_models import EntropyBottleneck, GaussianConditional  # noqa: E402

TYPICAL_COST, COST_FLOOR = 12.0, 6.0  # loss of a photo's crop on average, and what `loss` adds before its logarithm


def scale_of(index: Tensor) -> Tensor:
    """Standard deviation in quantisation steps of a scale index 0..63: 0.11 to 256, log-spaced."""
    low, high = hyper.SCALE_RANGE
    return low * (index * (math.log(high / low) / (hyper.SCALES - 1))).exp()


def normalise(pixels: Tensor) -> Tensor:
    """uint8 0..255 -> float32 -1..1, channels last."""
    return (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class QualityOptions(Options):
    """A run for a codec that serves the qualities from `lowest` to `highest`."""

    patch_unit: ClassVar[int] = hyper.HYPER * LATENT

    lowest: int = 1
    highest: int = 100


def check_qualities(lowest: int, highest: int) -> None:
    """Raise ValueError unless there is a quality between the two."""
    if lowest > highest:
        raise ValueError(f"the lowest quality, {lowest}, is above the highest, {highest}")


def random_qualities(
    pixels: Tensor, lowest: int = 1, highest: int = 100, generator: torch.Generator | None = None
) -> Tensor:
    """Fixed-point qualities (B,) from `lowest` to `highest`, evenly drawn, for a batch of pictures on its device."""
    span = (lowest * levels_module.QUALITY_ONE, highest * levels_module.QUALITY_ONE + 1)
    return torch.randint(*span, (len(pixels),), generator=generator, device=pixels.device)


@dataclass
class Estimate:
    """Result of one pass: the analysis' latents y (B, M, H/16, W/16), the linear path's picture (B, 3, H, W) in -1..1,
    what the network adds to it at the sizes that it makes, coarse to fine, and the bits (B,) of y and z by the entropy
    models."""

    latent: Tensor
    linear: Tensor
    added: list[Tensor]
    bits_y: Tensor
    bits_z: Tensor

    @property
    def picture(self) -> Tensor:
        """The decoded picture, (B, 3, H, W), about -1..1."""
        return self.linear + self.added[-1]


class _RoundedByRate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, residual: Tensor, symbol: Tensor, index: Tensor, threshold: Tensor, centroid: Tensor) -> Tensor:
        below, above = (
            dequantise(quantise(residual + shift, index, threshold), index, centroid) for shift in (-0.5, 0.5)
        )
        ctx.save_for_backward(above - below)
        return dequantise(symbol, index, centroid)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None, None, None


def rounded_by_rate(residual: Tensor, symbol: Tensor, index: Tensor, threshold: Tensor, centroid: Tensor) -> Tensor:
    """Residuals (B, M, h, w) in steps as a decoder reconstructs them from symbols (`codec.exact.quantise`), with the
    mean slope of that function over half a step to either side as gradient: 0 in the middle of the dead zone, about 1
    elsewhere. The straight-through gradient, 1 everywhere, is wrong inside the dead zone."""
    return _RoundedByRate.apply(residual, symbol, index, threshold, centroid)


class TrainableCodec(nn.Module):
    """Transforms, hyper-synthesis and CompressAI's entropy models, joined as in the mean-scale hyperprior
    (Minnen, Balle, Toderici, NeurIPS 2018, without the autoregressive context).

    Attributes:
        rounding: thresholds and centroids (`codec.exact.quantise`) of a finished model's encoder: the model then learns
            from pictures as its files decode. None for plain rounding.
    """

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.rounding: tuple[Tensor, Tensor] | None = None
        self.transforms = Transforms(config)
        self.hyper_synthesis = HyperSynthesis(config)
        self.density = EntropyBottleneck(config.levels * config.hyper)
        self.density.quantiles.requires_grad_(False)  # never used here, and DDP waits for every gradient
        self.gaussian = GaussianConditional(None)

    def forward(self, pixels: Tensor, quality: Tensor, taught: Tensor | None = None) -> Estimate:
        """Args: pixels (B, 3, H, W) uint8, H and W multiples of 64; quality (B,) integers 256..25600; taught (B, M,
        H/16, W/16), latents that are coded in place of the analysis' own.
        In training mode the rate is that of latents with additive noise, the distortion that of rounded latents
        (straight-through, see `rounding`).
        Pixels come as integers because Fabric's mixed precision would round floats to bfloat16 on their way in."""
        nets = self.transforms
        picture = normalise(pixels)
        gain = nets.gain(quality)  # (B, M, 1, 1)
        latent = nets.analysis(picture)
        gained = (latent if taught is None else taught) * gain  # (B, M, H/16, W/16)
        coded, bits_y, bits_z = self.entropy(gained, quality, quick=self.training)
        mean, residual = coded.mean / hyper.MEAN_ONE, coded.symbol
        if self.rounding:
            threshold, centroid = (value.to(gain.device) for value in self.rounding)
            symbol, index = coded.symbol.detach(), coded.index.detach()
            residual = rounded_by_rate(gained - mean, symbol, index, threshold, centroid)
        linear, added = nets.synthesis.parts((mean + residual) / gain, quality)
        return Estimate(latent, linear, added, bits_y, bits_z)

    def entropy(self, gained: Tensor, quality: Tensor, quick: bool = False) -> tuple[Coded, Tensor, Tensor]:
        """Symbols, means and scale indices of gained latents (B, M, h, w), rounded as in files if there is a
        `rounding`, and the bits (B,) of y and z. quick: see `HyperSynthesis.forward`."""
        threshold = self.rounding[0].to(gained.device) if self.rounding else None
        z = self.hyper_latent(gained)
        coded = self.hyper_synthesis(straight_through(z.round(), z), quality, quantiser(gained, threshold), quick)
        mean = coded.mean / hyper.MEAN_ONE
        with torch.autocast(gained.device.type, enabled=False):
            likelihood_z = self.hyper_likelihood(z, quality)
            observed = gained if self.training else mean + coded.symbol
            _, likelihood_y = self.gaussian(observed, scale_of(coded.index), mean)
        bits_y, bits_z = (-likelihood.log2().flatten(1).sum(1) for likelihood in (likelihood_y, likelihood_z))
        return coded, bits_y, bits_z

    def hyper_latent(self, gained: Tensor) -> Tensor:
        """Hyper-latents z (B, Z, h/4, w/4) of gained latents (B, M, h, w), in their range and not yet rounded."""
        return self.transforms.hyper_analysis(gained).clamp(-hyper.HYPER_LATENT_MAX, hyper.HYPER_LATENT_MAX)

    def hyper_likelihood(self, z: Tensor, quality: Tensor) -> Tensor:
        """Likelihood of z (B, Z, h, w), with noise in training and rounded else, by the densities of the nearest rate
        level: at low rates most channels are 0, which one density for all rates would code at a higher rate."""
        values = z + torch.rand_like(z) - 0.5 if self.training else z.round()
        level = levels_module.nearest_level(quality, self.config.levels)
        channels = torch.arange(z.shape[1], device=z.device)
        rows = (level[:, None] * z.shape[1] + channels).flatten()  # (B Z,), each sample's densities
        values = values.flatten(0, 1).flatten(1)[:, None]  # (B Z, 1, h w)
        lower, upper = (_cumulative(self.density, values + half, rows) for half in (-0.5, 0.5))
        return self.density.likelihood_lower_bound(upper - lower).reshape(z.shape)


def _cumulative(density: EntropyBottleneck, values: Tensor, rows: Tensor) -> Tensor:
    """The cumulative distributions numbered `rows` (N,) at values (N, 1, K): CompressAI's, for some of its channels."""
    for number, (matrix, bias) in enumerate(zip(density.matrices, density.biases, strict=True)):
        values = F.softplus(matrix[rows]) @ values + bias[rows]
        if number < len(density.factors):
            values = values + torch.tanh(density.factors[number][rows]) * torch.tanh(values)
    return torch.sigmoid(values)


def quantiser(gained: Tensor, threshold: Tensor | None) -> CodePass:
    """How the symbols of gained latents (B, M, h, w) are found in each pass of `codec.exact.context.run_passes`: the
    differences to the means, rounded by thresholds (`codec.exact.quantise`) or to the nearest integer if None, with the
    gradient of the differences."""

    def code_pass(part: Pass, mean: Tensor, index: Tensor) -> Tensor:
        residual = residual_of(gained, part, mean)
        with torch.no_grad():
            rounded = residual.round() if threshold is None else quantise(residual, index, threshold)
        return straight_through(rounded, residual)

    return code_pass


def loss(estimate: Estimate, pixels: Tensor, quality: Tensor, distortion: Distortion) -> tuple[Tensor, Tensor, Tensor]:
    """Mean over the batch of (lambda 255^2 D + bpp) / sqrt(lambda), and bpp and MSE (B,) in 0..255 units. D is the
    `distortion`, the MSE by default.

    The rate of a picture grows about as sqrt(lambda): dividing by it lets a relative saving weigh the same at every
    quality. Pictures at 1/2, 1/4 and 1/8, where the synthesis makes some, count 2 % each, so that early-stopped decodes
    are sane. The gradient is that of the mean logarithm of each crop's cost plus COST_FLOOR, so a relative saving also
    weighs about the same in every crop: otherwise busy crops, and noise above all, would dominate it.
    """
    picture = normalise(pixels)
    bpp = (estimate.bits_y + estimate.bits_z) / (pixels.shape[-1] * pixels.shape[-2])
    mse = square_error(estimate.picture.detach(), picture)
    small_mse, target = torch.zeros_like(mse), picture - estimate.linear.detach()
    for small in reversed(estimate.added[:-1]):
        target = reduce(target)
        small_mse = small_mse + (small - target).square().flatten(1).mean(1) * 127.5**2
    weight = rate_weight(quality)
    error = distortion(estimate.picture, picture, quality)
    total = (weight * (error + 0.02 * small_mse) + bpp) / weight.sqrt()
    log_cost = (TYPICAL_COST + COST_FLOOR) * (total + COST_FLOOR).log()
    return straight_through(total, log_cost).mean(), bpp.detach(), mse.detach()
