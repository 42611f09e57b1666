"""What an error counts for while the encoder searches (`--tune`): the same for all, or as much as it is seen.

"ssim" weighs square errors by what hides them. Structural similarity loses about e^2 / (2 sigma^2 + C) where an error e
falls on a picture of variance sigma^2 (Wang, Rehman, Wang, Ma, Gao, "Perceptual Video Coding Based on SSIM-Inspired
Divisive Normalization", IEEE Trans. Image Processing 2013), at each of several scales (Wang, Simoncelli, Bovik,
"Multiscale Structural Similarity", Asilomar 2003): errors in smooth places, in what is coarse and in luma count more,
those in busy texture and in colour less. Decoders know nothing of it.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from lapic.codec.nets.network import Synthesis
from lapic.codec.nets.pyramid import shuffle
from lapic.codec.picture.tiling import LATENT

SCALES = (0.4, 0.25, 0.15, 0.1, 0.1)  # what errors weigh at 1/1, 1/2, ..., 1/16 of the size
MASKING = 0.4  # exponent; 1 is structural similarity's own, but steps are no finer where errors are seen
STABLE = (0.03 * 255) ** 2  # C of structural similarity, in grey levels squared
TYPICAL = 900.0  # 2 sigma^2 + C where an error weighs one
WINDOW = 9
LIMITS = (0.5, 8.0)  # lower ones would break patterns and text of full contrast
LUMA = (0.299, 0.587, 0.114)  # of BT.601
LUMA_AXIS = F.normalize(torch.tensor(LUMA, dtype=torch.float32, device="cpu"), dim=0)[:, None, None]
LUMA_WEIGHT, CHROMA_WEIGHT = 1.4, 0.5


@dataclass(frozen=True)
class Measure:
    """A weighted square error of pictures (B, 3, H, W), H and W multiples of 16.

    Attributes:
        weights: at each scale, (B, 1, H/2^s, W/2^s).
    """

    weights: list[Tensor]

    def cost(self, error: Tensor) -> Tensor:
        """The weighted square error (B, 3, H, W) of the pixels of each latent, (B, 1, H/16, W/16)."""
        costs = []
        for scale, (weight, part) in enumerate(zip(self.weights, _scales(error, len(self.weights)), strict=True)):
            seen = weight * (part * _coloured(part)).sum(1, keepdim=True)  # (B, 1, H/2^s, W/2^s)
            costs.append(4**scale * F.avg_pool2d(seen, LATENT >> scale, divisor_override=1))
        return torch.stack(costs).sum(0)

    def slope(self, error: Tensor) -> Tensor:
        """Half of the derivative of the sum of `cost` by the picture, (B, 3, H, W)."""
        total = None
        for weight, part in reversed(list(zip(self.weights, _scales(error, len(self.weights)), strict=True))):
            here = weight * _coloured(part)
            total = here if total is None else here + F.interpolate(total, scale_factor=2.0, mode="nearest")
        assert total is not None
        return total

    def curvature(self, synthesis: Synthesis) -> Tensor:
        """How much more than an unweighted square error this one bends over each latent, (B, M, H/16, W/16), as far as
        the linear path tells: its pattern of each latent has so much of its energy at each scale."""
        patterns = shuffle(F.pixel_shuffle(synthesis.linear.weight.transpose(0, 1), 2), 8)  # (M, 3, 16, 16)
        energy = patterns.square().sum((1, 2, 3))
        bends = []
        for scale, (weight, part) in enumerate(zip(self.weights, _scales(patterns, len(self.weights)), strict=True)):
            share = 4**scale * (part * _coloured(part)).sum((1, 2, 3)) / energy  # (M,)
            bends.append(F.avg_pool2d(weight, LATENT >> scale) * share[:, None, None])
        return torch.stack(bends).sum(0)


def structural(picture: Tensor) -> Measure:
    """The measure of "ssim" for errors on a picture (B, 3, H, W) in -1..1, H and W multiples of 16."""
    luma = 127.5 * (picture * picture.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)  # (B, 1, H, W)
    weights = []
    for share, part in zip(SCALES, _scales(luma, len(SCALES)), strict=True):
        mean, square = (
            F.avg_pool2d(x, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
            for x in (part, part.square())
        )
        hides = 2 * (square - mean.square()).clamp(min=0) + STABLE
        weights.append(share * (TYPICAL / hides).pow(MASKING).clamp(*LIMITS))
    return Measure(weights)


def _scales(x: Tensor, count: int) -> list[Tensor]:
    """A picture at 1/1, 1/2, 1/4 ... of its size, by means."""
    return list(accumulate(range(count - 1), lambda larger, _: F.avg_pool2d(larger, 2), initial=x))


def _coloured(error: Tensor) -> Tensor:
    """What a square error's derivative is where luma and chroma weigh differently: CHROMA_WEIGHT times the error, and
    LUMA_WEIGHT times its part along the axis of luma."""
    axis = LUMA_AXIS.to(error)
    return CHROMA_WEIGHT * error + (LUMA_WEIGHT - CHROMA_WEIGHT) * axis * (error * axis).sum(1, keepdim=True)
