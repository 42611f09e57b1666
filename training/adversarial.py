"""Discriminators and the losses of both sides of the game.

PatchGAN: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (pix2pix), CVPR 2017. Several
scales and feature matching: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
GANs" (pix2pixHD), CVPR 2018.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

KINDS = ("least-squares", "hinge", "non-saturating")
Scores = list[list[Tensor]]  # of each scale the features of its layers; the last are the scores of the patches


class PatchDiscriminator(nn.Module):
    """4x4 convolutions of stride 2, 2, 2 and 1; every score sees 46 x 46 pixels with three layers. Spectral norm in
    place of batch norm keeps the features Lipschitz (Miyato et al., ICLR 2018). The scores are left free of it: bound
    so, they cannot grow beyond a few tenths, and texture is told from blur in little more than half of the patches."""

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
    """The same judge for the picture and for its halves, quarters ..., each with its own weights."""

    def __init__(self, channels: int = 3, scales: int = 2, width: int = 32) -> None:
        super().__init__()
        self.judges = nn.ModuleList(PatchDiscriminator(channels, width) for _ in range(scales))

    def forward(self, picture: Tensor, condition: Tensor | None = None) -> Scores:
        """Judge pictures (B, C, H, W) in -1..1, beside what they were made from where that is given."""
        x = picture if condition is None else torch.cat([picture, condition], dim=1)
        scores = []
        for judge in self.judges:
            scores.append(judge(x))
            x = F.avg_pool2d(x, 2)
        return scores


def _per_scale(kind: str, score: Tensor, real: bool) -> Tensor:
    """How far scores are from those of `real` (or made) pictures, for the discriminator."""
    score = score.float()
    if kind == "least-squares":
        return (score - float(real)).square().mean()
    sign = 1.0 if real else -1.0
    return F.relu(1 - sign * score).mean() if kind == "hinge" else F.softplus(-sign * score).mean()


def discriminator_loss(kind: str, real: Scores, made: Scores) -> Tensor:
    """What a discriminator minimises: least squares (Mao et al., ICCV 2017), hinge (Lim and Ye, 2017) or the original
    loss (Goodfellow et al., NeurIPS 2014), the mean over its scales."""
    parts = [
        _per_scale(kind, a[-1], real=True) + _per_scale(kind, b[-1], real=False)
        for a, b in zip(real, made, strict=True)
    ]
    return torch.stack(parts).mean() / 2


def generator_loss(kind: str, made: Scores) -> Tensor:
    """What a generator minimises: its pictures taken for real, the mean over the discriminator's scales."""
    if kind == "hinge":
        return -torch.stack([scale[-1].float().mean() for scale in made]).mean()
    return torch.stack([_per_scale(kind, scale[-1], real=True) for scale in made]).mean()


def feature_matching(real: Scores, made: Scores) -> Tensor:
    """Mean L1 distance of the discriminator's inner features of real and made pictures (pix2pixHD, section 3.2)."""
    distances = [
        F.l1_loss(b.float(), a.detach().float())
        for scales in zip(real, made, strict=True)
        for a, b in zip(scales[0][:-1], scales[1][:-1], strict=True)
    ]
    return torch.stack(distances).mean()


def accuracy(kind: str, real: Scores, made: Scores) -> float:
    """The share of patches that a discriminator tells right: 0.5 is a guess, 1 a game that the generator loses."""
    middle = 0.5 if kind == "least-squares" else 0.0
    right = [(a[-1] > middle).float().mean() + (b[-1] < middle).float().mean() for a, b in zip(real, made, strict=True)]
    return torch.stack(right).mean().item() / 2
