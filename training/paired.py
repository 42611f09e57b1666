"""Losses on pairs beside the distortion: LPIPS, multi-scale PatchGANs conditioned on the input, and feature
matching, as in pix2pixHD (Wang et al., CVPR 2018)."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.training.adversarial import (
    MultiScaleDiscriminator,
    Scores,
    accuracy,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from lapic.training.loop import Batch, Figures, Loss, Models, Optimisers, Options
from lapic.training.perceptual import Perceptual

LATENT_VIEW = 12  # channels of the discriminator's view of latents
MATCHING = 10.0  # weight of feature matching, relative to the adversarial loss
DISCRIMINATOR_LR_SCALE = 4.0  # the discriminator's learning rate relative to the run's


@dataclass(frozen=True)
class PairedOptions(Options):
    """Losses that a run adds to its distortion."""

    lpips: float = 0.0  # weight of LPIPS
    backbone: Path | None = None
    gan: bool = False
    gan_weight: float = 1.0  # weight of the adversarial loss
    gan_loss: str = "least-squares"  # one of training.adversarial.GAN_LOSSES
    periodic_weight: float = 0.0  # weight of the penalty of periodic artefacts


class Discriminators(nn.Module):
    """A discriminator for each direction of translation, conditioned on the source picture for pairs.

    With `latents` the condition is that many channels of decoded latents at 1/16 of the size, of which a learned
    projection is concatenated to the picture, as in HiFiC (Mentzer et al., NeurIPS 2020).
    """

    def __init__(self, channels: int, both: bool = False, latents: int = 0) -> None:
        super().__init__()
        self.see = nn.Conv2d(latents, LATENT_VIEW, 1) if latents else None
        channels += LATENT_VIEW if latents else 0
        self.there = MultiScaleDiscriminator(channels)
        self.back = MultiScaleDiscriminator(channels) if both else None

    def forward(self, picture: Tensor, condition: Tensor | None = None, back: bool = False) -> Scores:
        """See MultiScaleDiscriminator."""
        if self.see is not None and condition is not None:
            condition = F.interpolate(self.see(torch.asinh(condition)), size=picture.shape[-2:])
        return (self.back if back else self.there)(picture, condition)


def _discriminator_optimisers(discriminators: nn.Module) -> list[torch.optim.Optimizer]:
    """Adam with little momentum, as is usual for discriminators, at a higher learning rate than the generator's (two
    time-scale update rule: Heusel et al., NeurIPS 2017)."""
    group = {"params": list(discriminators.parameters()), "lr_scale": DISCRIMINATOR_LR_SCALE}
    return [torch.optim.Adam([group], betas=(0.5, 0.99))]


def optimisers(models: Models, generators: list[torch.optim.Optimizer]) -> Optimisers:
    """Optimisers of a recipe: those of its generator and, if it has one, its discriminator's."""
    found = models.get("discriminator")
    return {"model": generators} | ({"discriminator": _discriminator_optimisers(found)} if found is not None else {})


def periodic_artefacts(difference: Tensor) -> Tensor:
    """Penalty of periodic artefacts: root mean square, in grey levels, of the part of a difference of pictures
    (B, 3, H, W) in -1..1 that repeats every 8 pixels, which is its mean over 4x4 cells of 8x8 pixels.

    A network that works on cells tends to synthesise texture that is the same in every cell. LPIPS and a discriminator
    early in its training score that as texture; viewers see a grid (docs/notebook/realism.md).
    """
    cells = F.pixel_unshuffle(difference.float(), 8)  # (B, 192, H/8, W/8)
    periodic = F.avg_pool2d(cells, 4, stride=2)
    return 127.5 * (periodic.square().mean() + 1e-6).sqrt()


def perceptual(options: PairedOptions) -> Perceptual | None:
    """LPIPS, if it has a weight."""
    return Perceptual(options.backbone) if options.lpips else None


def generator(
    options: PairedOptions,
    lpips: Perceptual | None,
    models: Models,
    pictures: dict[str, Tensor],
    shared: dict[str, Any],
) -> tuple[Tensor | float, Figures]:
    """The losses that are added to a generator's distortion.

    Args:
        pictures: "fake", "real" and "condition", (B, 3, H, W) in -1..1.
        shared: receives the pictures for the discriminator's loss.
    """
    fake, real, condition = (pictures[name] for name in ("fake", "real", "condition"))
    total: Tensor | float = 0.0
    figures: Figures = {}
    if lpips is not None:
        difference = lpips.to(fake.device)(fake, real)
        total, figures = options.lpips * difference, {"lpips": difference.item()}
    if options.periodic_weight:
        periodic = periodic_artefacts(fake - real)
        total, figures = total + options.periodic_weight * periodic, figures | {"periodic": periodic.item()}
    if options.gan:
        shared |= {"fake": fake.detach(), "real": real, "condition": condition}
        fake_scores, real_scores = (models["discriminator"](picture, condition) for picture in (fake, real))
        gan_loss = generator_loss(options.gan_loss, fake_scores) + MATCHING * feature_matching(real_scores, fake_scores)
        total, figures = total + options.gan_weight * gan_loss, figures | {"gan_loss": gan_loss.item()}
    return total, figures


def losses(options: PairedOptions, generator: Loss) -> dict[str, Loss]:
    """The losses of a recipe: its generator's and, with `gan`, its discriminator's."""
    return {"model": generator} | ({"discriminator": partial(_discriminator, options)} if options.gan else {})


def _discriminator(
    options: PairedOptions, models: Models, batch: Batch, shared: dict[str, Any]
) -> tuple[Tensor, Figures]:
    """A discriminator's loss and the fraction of patches that it classifies correctly."""
    real, fake = (models["discriminator"](shared[name], shared["condition"]) for name in ("real", "fake"))
    return discriminator_loss(options.gan_loss, real, fake), {"accuracy": accuracy(options.gan_loss, real, fake)}
