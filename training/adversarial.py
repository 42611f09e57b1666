"""Discriminators, and the adversarial losses of discriminator and generator.

PatchGAN: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (pix2pix), CVPR 2017. Several
scales and feature matching: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
GANs" (pix2pixHD), CVPR 2018.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

GAN_LOSSES = ("least-squares", "hinge", "non-saturating")
Scores = list[list[Tensor]]  # of each scale the features of its layers; the last are the scores of the patches


class PatchDiscriminator(nn.Module):
    """4x4 convolutions of stride 2, 2, 2 and 1; every score sees 46 x 46 pixels with three layers. Spectral norm in
    place of batch norm keeps the features Lipschitz (Miyato et al., ICLR 2018). The last layer has none: with it,
    scores stay below a few tenths and hardly tell texture from blur."""

    def __init__(self, channels: int, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        widths = [channels, *(min(width * 2**n, 8 * width) for n in range(layers))]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)) for before, after in pairwise(widths)
        )
        self.leave = nn.Conv2d(widths[-1], 1, 4, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> the features of each layer and the scores (B, 1, H/8 - 1, W/8 - 1)."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return [*features, self.leave(x)]


class MultiScaleDiscriminator(nn.Module):
    """Patch discriminators for the picture and for its halves, quarters ..., each with its own weights."""

    def __init__(self, channels: int = 3, scales: int = 2, width: int = 32) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(channels, width) for _ in range(scales))

    def forward(self, picture: Tensor, condition: Tensor | None = None) -> Scores:
        """Scores of pictures (B, C, H, W) in -1..1, with the picture that they were generated from if that is given."""
        x = picture if condition is None else torch.cat([picture, condition], dim=1)
        scores = []
        for discriminator in self.scales:
            scores.append(discriminator(x))
            x = F.avg_pool2d(x, 2)
        return scores


def _per_scale(kind: str, score: Tensor, real: bool) -> Tensor:
    """Loss of the discriminator for scores of real pictures, or else of fake ones."""
    score = score.float()
    if kind == "least-squares":
        return (score - float(real)).square().mean()
    sign = 1.0 if real else -1.0
    return F.relu(1 - sign * score).mean() if kind == "hinge" else F.softplus(-sign * score).mean()


def discriminator_loss(kind: str, real: Scores, fake: Scores) -> Tensor:
    """What a discriminator minimises: least squares (Mao et al., ICCV 2017), hinge (Lim and Ye, 2017) or the original
    loss (Goodfellow et al., NeurIPS 2014), the mean over its scales."""
    parts = [
        _per_scale(kind, a[-1], real=True) + _per_scale(kind, b[-1], real=False)
        for a, b in zip(real, fake, strict=True)
    ]
    return torch.stack(parts).mean() / 2


def generator_loss(kind: str, fake: Scores) -> Tensor:
    """What a generator minimises, the lower the more its pictures score as real: the mean over the discriminator's
    scales."""
    if kind == "hinge":
        return -torch.stack([scale[-1].float().mean() for scale in fake]).mean()
    return torch.stack([_per_scale(kind, scale[-1], real=True) for scale in fake]).mean()


def feature_matching(real: Scores, fake: Scores) -> Tensor:
    """Mean L1 distance of the discriminator's inner features of real and fake pictures (pix2pixHD, section 3.2)."""
    distances = [
        F.l1_loss(b.float(), a.detach().float())
        for scales in zip(real, fake, strict=True)
        for a, b in zip(scales[0][:-1], scales[1][:-1], strict=True)
    ]
    return torch.stack(distances).mean()


def accuracy(kind: str, real: Scores, fake: Scores) -> float:
    """The fraction of patches that a discriminator classifies correctly: 0.5 is chance."""
    middle = 0.5 if kind == "least-squares" else 0.0
    right = [(a[-1] > middle).float().mean() + (b[-1] < middle).float().mean() for a, b in zip(real, fake, strict=True)]
    return torch.stack(right).mean().item() / 2
