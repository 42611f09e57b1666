"""A distortion that follows perception: SSIMULACRA2's terms, mixed with the square error and with LPIPS.

SSIMULACRA2 (Sneyers, Cloudinary, 2022) compares two pictures in XYB, the colour space of JPEG XL, at six scales. Each
of three maps (loss of structural similarity, added edges, lost edges) gives its mean and its fourth-power norm, for
each scale and channel: 108 terms, of which a weighted sum goes through a polynomial into the score. The sum before
that polynomial is `Structure` here: 0 for identical pictures, about 0.4 at a score of 90 and 5.5 at one of 50.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.nets import levels
from lapic.training.perceptual import Perceptual

SCALES = 6
C2 = 0.0009  # SSIM's, which keeps its quotient finite
SIGMA, RADIUS = 1.5, 5  # of the Gaussian window, in pixels
POLYNOMIAL = (0.9562382616834844, 2.326765642916932, -0.020884521182843837, 6.248496625763138e-05, 0.6276336467831387)
ABSORBANCE = (
    (0.30, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.5518098665095536),
)  # linear RGB -> LMS, as in JPEG XL
BIAS = 0.0037930732552754493
# Weights of the terms by channel (X, Y, B), scale (1/1 to 1/32), norm (mean, fourth power) and map (similarity, added
# edges, lost edges), as libjxl's ssimulacra2.cc has them.
# fmt: off
WEIGHTS = (
    (0.0, 0.0007376606707406586, 0.0, 0.0, 0.0007793481682867309, 0.0),
    (0.0, 0.0004371155730107379, 0.0, 1.1041726426657346, 0.00066284834129271, 0.00015231632783718752),
    (0.0, 0.0016406437456599754, 0.0, 1.8422455520539298, 11.441172603757666, 0.0),
    (0.0007989109436015163, 0.000176816438078653, 0.0, 1.8787594979546387, 10.94906990605142, 0.0),
    (0.0007289346991508072, 0.9677937080626833, 0.0,
     0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053),
    (0.0004550992113792063, 0.0, 0.0, 0.0013648766163243398, 0.0, 0.0),
    (0.0, 0.0, 0.0, 7.466890328078848, 0.0, 17.445833984131262),
    (0.0006235601634041466, 0.0, 0.0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264),
    (225.20515300849274, 0.0, 0.0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985),
    (176.39317598450694, 0.0, 0.0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408),
    (0.0, 0.0, 0.0, 34.77906344483772, 44.835625328877896, 0.0),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (0.0, 0.0008680556573291698, 0.0, 0.0, 0.0, 0.0),
    (0.0, 0.0005313191874358747, 0.0, 0.00016533814161379112, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.0004179171803251336, 0.0017290828234722833, 0.0),
    (0.0020827005846636437, 0.0, 0.0, 8.826982764996862, 23.19243343998926, 0.0),
    (95.1080498811086, 0.9863978034400682, 0.9834382792465353,
     0.0012286405048278493, 171.2667255897307, 0.9807858872435379),
    (0.0, 0.0, 0.0, 0.0005130064588990679, 0.0, 0.00010854057858411537),
)
# fmt: on


def _to_linear(picture: Tensor) -> Tensor:
    """sRGB in -1..1 -> linear light in 0..1; values outside count as the nearest inside."""
    value = ((picture + 1) / 2).clamp(0, 1)
    curve = ((value.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(value > 0.04045, curve, value / 12.92)


def _to_xyb(linear: Tensor, absorbance: Tensor) -> Tensor:
    """Linear light (B, 3, H, W) -> XYB, scaled and shifted to positive values as SSIMULACRA2 does."""
    mixed = F.conv2d(linear, absorbance[:, :, None, None]) + BIAS
    long, medium, short = (mixed.clamp(min=1e-7) ** (1 / 3) - BIAS ** (1 / 3)).unbind(1)
    x, y = (long - medium) / 2, (long + medium) / 2
    return torch.stack([14 * x + 0.42, y + 0.01, short - y + 0.55], dim=1)


def _blur(x: Tensor, as_scored: bool) -> Tensor:
    """A Gaussian of sigma 1.5 over (B, C, H, W). The picture is mirrored at its borders; `as_scored` pads it as the
    package ssimulacra2 does, by zeros to the left and right."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=x.device, dtype=x.dtype)
    kernel = (-(offsets**2) / (2 * SIGMA**2)).exp()
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    sides, ends = (RADIUS, RADIUS, 0, 0), (0, 0, RADIUS, RADIUS)
    x = F.conv2d(F.pad(x, sides) if as_scored else F.pad(x, sides, mode="reflect"), kernel, groups=x.shape[1])
    return F.conv2d(F.pad(x, ends, mode="reflect"), kernel.transpose(2, 3), groups=x.shape[1])


def _norms(error: Tensor) -> Tensor:
    """Mean and fourth-power norm of maps (B, 3, h, w): (B, 3, 2)."""
    fourth = (error.square().square().mean((2, 3)) + 1e-16) ** 0.25 - 1e-4
    return torch.stack([error.mean((2, 3)), fourth], dim=2)


def _terms(made: Tensor, target: Tensor, as_scored: bool) -> Tensor:
    """Terms of one scale for XYB pictures (B, 3, h, w): (B, 3, 2, 3) by channel, norm and map."""
    with torch.no_grad():
        target_mean, target_square = _blur(torch.cat([target, target.square()], dim=1), as_scored).chunk(2, dim=1)
    mean, square, product = _blur(torch.cat([made, made.square(), made * target], dim=1), as_scored).chunk(3, dim=1)
    alike = 1 - (mean - target_mean).square()
    covariance = 2 * (product - mean * target_mean) + C2
    variances = (square - mean.square()) + (target_square - target_mean.square()) + C2
    dissimilar = (1 - alike * covariance / variances).clamp(min=0)
    edges = (1 + (made - mean).abs()) / (1 + (target - target_mean).abs()) - 1
    return torch.stack([_norms(dissimilar), _norms(edges.clamp(min=0)), _norms((-edges).clamp(min=0))], dim=3)


class Structure(nn.Module):
    """SSIMULACRA2's weighted sum of terms. The weights are buffers, so that a CUDA graph can replay it.

    Args:
        as_scored: treat the borders as the package ssimulacra2 does.
    """

    def __init__(self, as_scored: bool = False) -> None:
        super().__init__()
        self.as_scored = as_scored
        self.register_buffer("weights", torch.tensor(WEIGHTS).reshape(3, SCALES, 2, 3), persistent=False)
        self.register_buffer("absorbance", torch.tensor(ABSORBANCE), persistent=False)

    def forward(self, made: Tensor, target: Tensor) -> Tensor:
        """(B,), at least 0, of pictures (B, 3, H, W) in -1..1, float32, H and W at least 16; `target` gets no gradient.
        Scales of less than 8 pixels are left out, as the score does."""
        total = made.new_zeros(len(made))
        light, target_light = _to_linear(made), _to_linear(target.detach())
        for scale in range(SCALES):
            xyb, target_xyb = (_to_xyb(linear, self.absorbance) for linear in (light, target_light))
            terms = _terms(xyb, target_xyb, self.as_scored)  # (B, 3, 2, 3)
            total = total + (terms * self.weights[:, scale]).sum((1, 2, 3))
            if min(light.shape[2:]) < 16:
                break
            light, target_light = F.avg_pool2d(light, 2), F.avg_pool2d(target_light, 2)
        return total


def score(total: Tensor) -> Tensor:
    """SSIMULACRA2, at most 100, of `Structure`."""
    factor, first, second, third, power = POLYNOMIAL
    x = factor * total
    return 100 - 10 * (first * x + second * x**2 + third * x**3).clamp(min=0) ** power


@dataclass(frozen=True)
class Mixture:
    """The share of each measure in the distortion; they add up to 1.

    Every measure is exchanged for square error at the rate at which the `photo` models, trained for square error alone,
    have both, so that qualities keep about their rates.
    """

    squares: float = 0.5
    structure: float = 0.5
    lpips: float = 0.0


SQUARES_ONLY = Mixture(1.0, 0.0, 0.0)
STRUCTURE_RATE = 9.0  # square error (0..255 units) for one of `Structure`, at every quality
RATE_KEPT = 0.5  # rise of the distortion for each share that is not squared error: a model for it has less of it
LPIPS_RATE = (750.0, 330.0)  # the same for one of LPIPS at the lowest quality and at the highest


def lpips_rate(quality: Tensor) -> Tensor:
    """Square error (0..255 units) that one of LPIPS is exchanged for at fixed-point qualities (B,)."""
    low, high = LPIPS_RATE
    place = (quality - levels.QUALITY_ONE).float() / levels.QUALITY_SPAN
    return low * (high / low) ** (2 * place).clamp(max=1)


class Distortion(nn.Module):
    """How far decoded pictures are from their originals, in units of square error (0..255).

    Args:
        backbone: SqueezeNet's features, see `training.perceptual`; needed where LPIPS has a share.
    """

    def __init__(self, mixture: Mixture = SQUARES_ONLY, backbone: Path | None = None) -> None:
        super().__init__()
        self.mixture = mixture
        self.structure = Structure() if mixture.structure else None
        self.perceptual = Perceptual(backbone) if mixture.lpips else None

    def forward(self, made: Tensor, target: Tensor, quality: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in -1..1 and fixed-point qualities (B,) -> (B,)."""
        mixture = self.mixture
        total = mixture.squares * square_error(made, target)
        with torch.autocast(made.device.type, enabled=False):
            if self.structure is not None:
                total = total + mixture.structure * STRUCTURE_RATE * self.structure(made.float(), target)
            if self.perceptual is not None:
                total = total + mixture.lpips * lpips_rate(quality) * self.perceptual.each(made, target)
        return (1 + RATE_KEPT * (1 - mixture.squares)) * total


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions:
    """The distortion that a run minimises."""

    objective: str = "psnr"  # square error alone; or "eye", mixed by the shares that follow
    structure: float = Mixture.structure
    lpips: float = Mixture.lpips
    backbone: Path | None = None  # of LPIPS

    def distortion(self) -> Distortion:
        """The distortion. Raises ValueError if the shares add up to more than 1."""
        if self.objective == "psnr":
            return Distortion()
        if self.structure + self.lpips > 1:
            raise ValueError(
                f"the shares of structure, {self.structure}, and LPIPS, {self.lpips}, add up to more than 1"
            )
        return Distortion(Mixture(1 - self.structure - self.lpips, self.structure, self.lpips), self.backbone)


def square_error(made: Tensor, target: Tensor) -> Tensor:
    """Mean square error (B,) in 0..255 units of pictures (B, 3, H, W) in -1..1."""
    return (made - target).square().flatten(1).mean(1) * 127.5**2
