"""The error that the search lowers (`--tune`): the plain square error ("psnr"), or one that is weighted by visibility.

"ssim" weighs square errors by the contrast that masks them. Structural similarity loses about
e^2 / (2 sigma^2 + C) where an error e falls on a picture of variance sigma^2 (Wang, Rehman, Wang, Ma, Gao, "Perceptual
Video Coding Based on SSIM-Inspired Divisive Normalization", IEEE Trans. Image Processing 2013), at each of several
scales (Wang, Simoncelli, Bovik, "Multiscale Structural Similarity", Asilomar 2003): errors in smooth areas, at coarse
scales and in luma count more, those in busy texture and in chroma less. Decoding does not depend on it.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from lapic.codec.nets import second
from lapic.codec.nets.network import Synthesis
from lapic.codec.picture.tiling import LATENT

SCALES = (0.4, 0.25, 0.15, 0.1, 0.1)  # weights of errors at 1/1, 1/2, ..., 1/16 of the size
MASKING = 0.4  # exponent; that of structural similarity is 1, but the steps are the same in smooth and busy areas
STABLE = (0.03 * 255) ** 2  # C of structural similarity, in grey levels squared
TYPICAL = 900.0  # 2 sigma^2 + C at which an error has the weight one: a standard deviation of 20 grey levels
WINDOW = 9
LIMITS = (0.5, 8.0)  # of weights; below 0.5 patterns and text of full contrast would break
LUMA = (0.299, 0.587, 0.114)  # of BT.601
LUMA_AXIS = F.normalize(torch.tensor(LUMA, dtype=torch.float32, device="cpu"), dim=0)[:, None, None]
LUMA_WEIGHT, CHROMA_WEIGHT = 1.4, 0.5


@dataclass(frozen=True)
class Measure:
    """A weighted square error for pictures (B, 3, H, W), H and W multiples of 16.

    Attributes:
        weights: at each scale, (B, 1, H/2^s, W/2^s).
    """

    weights: list[Tensor]

    def cost(self, error: Tensor) -> Tensor:
        """The weighted square error (B, 3, H, W) of the pixels of each latent, (B, 1, H/16, W/16)."""
        costs = []
        for scale, (weight, part) in enumerate(zip(self.weights, _scales(error, len(self.weights)), strict=True)):
            weighted = weight * (part * _coloured(part)).sum(1, keepdim=True)  # (B, 1, H/2^s, W/2^s)
            costs.append(4**scale * F.avg_pool2d(weighted, LATENT >> scale, divisor_override=1))
        return torch.stack(costs).sum(0)

    def slope(self, error: Tensor) -> Tensor:
        """Half of the derivative of the sum of `cost` by the picture, (B, 3, H, W)."""
        total = None
        for weight, part in reversed(list(zip(self.weights, _scales(error, len(self.weights)), strict=True))):
            slope = weight * _coloured(part)
            total = slope if total is None else slope + F.interpolate(total, scale_factor=2.0, mode="nearest")
        assert total is not None
        return total

    def curvature(self, synthesis: Synthesis | second.Synthesis) -> Tensor:
        """The second derivative by each latent, (B, M, H/16, W/16), relative to that of the unweighted square error.

        It is computed for the linear path alone, from the energy that a latent's pattern has at each scale."""
        patterns = synthesis.patterns()  # (M, 3, 16, 16)
        energy = patterns.square().sum((1, 2, 3))
        curvatures = []
        for scale, (weight, part) in enumerate(zip(self.weights, _scales(patterns, len(self.weights)), strict=True)):
            energy_share = 4**scale * (part * _coloured(part)).sum((1, 2, 3)) / energy  # (M,)
            curvatures.append(F.avg_pool2d(weight, LATENT >> scale) * energy_share[:, None, None])
        return torch.stack(curvatures).sum(0)


def structural(picture: Tensor) -> Measure:
    """The measure of "ssim" for errors on a picture (B, 3, H, W) in -1..1, H and W multiples of 16."""
    luma = 127.5 * (picture * picture.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)  # (B, 1, H, W)
    weights = []
    for scale_weight, part in zip(SCALES, _scales(luma, len(SCALES)), strict=True):
        mean, square = (
            F.avg_pool2d(x, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
            for x in (part, part.square())
        )
        masking = 2 * (square - mean.square()).clamp(min=0) + STABLE
        weights.append(scale_weight * (TYPICAL / masking).pow(MASKING).clamp(*LIMITS))
    return Measure(weights)


def _scales(x: Tensor, count: int) -> list[Tensor]:
    """A picture at 1/1, 1/2, 1/4 ... of its size, by averages."""
    return list(accumulate(range(count - 1), lambda larger, _: F.avg_pool2d(larger, 2), initial=x))


def _coloured(error: Tensor) -> Tensor:
    """Half of the derivative of a square error with LUMA_WEIGHT along the luma axis and CHROMA_WEIGHT across it."""
    axis = LUMA_AXIS.to(error)
    return CHROMA_WEIGHT * error + (LUMA_WEIGHT - CHROMA_WEIGHT) * axis * (error * axis).sum(1, keepdim=True)
