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

from lapic.codec.encode import xyb
from lapic.codec.encode.appearance import STRUCTURE_RATE
from lapic.codec.nets import levels
from lapic.training.perceptual import Perceptual

SIGMA, RADIUS = 1.5, 5  # of the Gaussian window, in pixels
POLYNOMIAL = (0.9562382616834844, 2.326765642916932, -0.020884521182843837, 6.248496625763138e-05, 0.6276336467831387)


def _window(size: int, like: Tensor, mirrored: bool) -> Tensor:
    """The matrix (size, size) that blurs a row of pixels by a Gaussian of sigma 1.5, the row being mirrored at its ends
    or followed by zeros."""
    to = torch.arange(size, device=like.device, dtype=like.dtype)
    reach = torch.arange(-RADIUS, RADIUS + 1, device=like.device, dtype=like.dtype)

    def gaussian(offset: Tensor) -> Tensor:
        return (-(offset**2) / (2 * SIGMA**2)).exp() * (offset.abs() <= RADIUS)

    here, last = to[:, None], size - 1
    matrix = gaussian(here - to)
    if mirrored:
        matrix = matrix + gaussian(here + to) * (to > 0) + gaussian(2 * last - here - to) * (to < last)
    return matrix / gaussian(reach).sum()


def _blur(x: Tensor, as_scored: bool) -> Tensor:
    """A Gaussian of sigma 1.5 over (B, C, H, W), as products with matrices, which take a third of a convolution's time.
    The picture is mirrored at its borders; `as_scored` pads it as the package ssimulacra2 does, by zeros to the left
    and right."""
    height, width = x.shape[2:]
    return _window(height, x, mirrored=True) @ (x @ _window(width, x, mirrored=not as_scored).T)


def _norms(error: Tensor) -> Tensor:
    """Mean and fourth-power norm of maps (B, C, h, w): (B, C, 2)."""
    fourth = (error.square().square().mean((2, 3)) + 1e-16) ** 0.25 - 1e-4
    return torch.stack([error.mean((2, 3)), fourth], dim=2)


def _terms(made: Tensor, target: Tensor, as_scored: bool) -> Tensor:
    """Terms of one scale for channels of XYB pictures (B, C, h, w): (B, C, 2, 3) by channel, norm and map."""
    with torch.no_grad():
        target_mean, target_square = _blur(torch.cat([target, target.square()], dim=1), as_scored).chunk(2, dim=1)
    mean, square, product = _blur(torch.cat([made, made.square(), made * target], dim=1), as_scored).chunk(3, dim=1)
    alike = 1 - (mean - target_mean).square()
    covariance = 2 * (product - mean * target_mean) + xyb.C2
    variances = (square - mean.square()) + (target_square - target_mean.square()) + xyb.C2
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
        self.register_buffer("weights", torch.tensor(xyb.WEIGHTS).reshape(3, xyb.SCALES, 2, 3), persistent=False)

    def forward(self, made: Tensor, target: Tensor) -> Tensor:
        """(B,), at least 0, of pictures (B, 3, H, W) in -1..1, float32, H and W at least 16; `target` gets no gradient.
        Scales of less than 8 pixels are left out, as the score does."""
        total = made.new_zeros(len(made))
        light, target_light = xyb.to_linear(made), xyb.to_linear(target.detach())
        for scale, channels in enumerate(xyb.CHANNELS):
            seen, wanted = (xyb.to_xyb(one, channels) for one in (light, target_light))  # (B, C, h, w)
            terms = _terms(seen, wanted, self.as_scored)  # (B, C, 2, 3)
            total = total + (terms * self.weights[channels, scale]).sum((1, 2, 3))
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
