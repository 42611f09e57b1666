"""What trains a network on pairs beside distortion: LPIPS, multi-scale PatchGANs that see the input too, and feature
matching, as in pix2pixHD (Wang et al., CVPR 2018)."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.adversarial import (
    MultiScaleDiscriminator,
    Scores,
    accuracy,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from training.loop import Batch, Figures, Loss, Models, Optimisers, Options
from training.perceptual import Perceptual

LATENT_VIEW = 12  # channels of the discriminator's view of latents
MATCHING = 10.0  # weight of feature matching, relative to the adversarial loss
JUDGE_SHARE = 4.0  # the discriminator's learning rate, relative to the run's


@dataclass(frozen=True)
class PairedOptions(Options):
    """What such a run adds to distortion."""

    lpips: float = 0.0  # weight of LPIPS
    backbone: Path | None = None
    gan: bool = False
    adversary: float = 1.0  # weight of the adversarial loss
    game: str = "least-squares"
    stamps: float = 0.0  # weight of what repeats from cell to cell


class Judges(nn.Module):
    """A discriminator for each direction; `condition` beside the picture for pairs.

    With `latents` the condition is that many channels of decoded latents at 1/16 of the size, of which a learned
    projection stands beside the picture, as in HiFiC (Mentzer et al., NeurIPS 2020).
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


def _judge_optimisers(judges: nn.Module) -> list[torch.optim.Optimizer]:
    """Adam without much momentum, as is usual for discriminators, at a higher rate than the generator, which would
    otherwise change faster than it is judged (Heusel et al., NeurIPS 2017)."""
    return [torch.optim.Adam([{"params": list(judges.parameters()), "share": JUDGE_SHARE}], betas=(0.5, 0.99))]


def optimisers(models: Models, generators: list[torch.optim.Optimizer]) -> Optimisers:
    """Those of a recipe: of its generator and, if it plays, of its discriminator."""
    judges = models.get("discriminator")
    return {"model": generators} | ({"discriminator": _judge_optimisers(judges)} if judges is not None else {})


def repeated(difference: Tensor) -> Tensor:
    """Root mean square, in grey levels, of what repeats in a difference of pictures (B, 3, H, W) in -1..1: the means
    over 4x4 cells of 8x8 pixels.

    A network that works on cells likes to fill in texture by a stamp, the same in every cell. LPIPS and a young
    discriminator take it for texture; an eye sees the grid at once.
    """
    cells = F.pixel_unshuffle(difference.float(), 8)  # (B, 192, H/8, W/8)
    stamps = F.avg_pool2d(cells, 4, stride=2)
    return 127.5 * (stamps.square().mean() + 1e-6).sqrt()


def perceptual(options: PairedOptions) -> Perceptual | None:
    """LPIPS, if the run wants it."""
    return Perceptual(options.backbone) if options.lpips else None


def generator(
    options: PairedOptions,
    lpips: Perceptual | None,
    models: Models,
    pictures: dict[str, Tensor],
    shared: dict[str, Any],
) -> tuple[Tensor | float, Figures]:
    """What is added to a generator's distortion.

    Args:
        pictures: "made", "real" and "condition", (B, 3, H, W) in -1..1.
        shared: takes what the discriminator needs.
    """
    made, real, condition = (pictures[name] for name in ("made", "real", "condition"))
    total: Tensor | float = 0.0
    figures: Figures = {}
    if lpips is not None:
        difference = lpips.to(made.device)(made, real)
        total, figures = options.lpips * difference, {"lpips": difference.item()}
    if options.stamps:
        stamps = repeated(made - real)
        total, figures = total + options.stamps * stamps, figures | {"stamps": stamps.item()}
    if options.gan:
        shared |= {"made": made.detach(), "real": real, "condition": condition}
        judged, wanted = (models["discriminator"](picture, condition) for picture in (made, real))
        game = generator_loss(options.game, judged) + MATCHING * feature_matching(wanted, judged)
        total, figures = total + options.adversary * game, figures | {"game": game.item()}
    return total, figures


def losses(options: PairedOptions, generator: Loss) -> dict[str, Loss]:
    """The losses of a recipe: a generator's and, if the run wants one, its discriminator's."""
    return {"model": generator} | ({"discriminator": partial(_discriminator, options)} if options.gan else {})


def _discriminator(
    options: PairedOptions, models: Models, batch: Batch, shared: dict[str, Any]
) -> tuple[Tensor, Figures]:
    """A discriminator's loss and the share of patches that it tells right."""
    real, made = (models["discriminator"](shared[name], shared["condition"]) for name in ("real", "made"))
    return discriminator_loss(options.game, real, made), {"accuracy": accuracy(options.game, real, made)}
