"""The latents of pictures from a finished encoder, to train a decoder or an entropy model on."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapic.codec.encode.draft import Region, Rounded
from lapic.codec.encode.encoder import analyse, round_latents
from lapic.codec.encode.rate import symbol_bits
from lapic.codec.encode.search import improve, settle, steps_of
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import features_of, shown_latents
from lapic.codec.picture.tiling import LATENT
from lapic.training.data import by_area, random_windows
from lapic.training.rate_distortion import normalise

EFFORT = 2  # of encoding; the default takes three times as long for a percent or two
SEARCHED_SHARE = 0.7  # of the steps encode with EFFORT, the others with 0


def random_effort() -> int:
    """The effort of a step: EFFORT or 0."""
    return EFFORT if torch.rand(1).item() < SEARCHED_SHARE else 0


@torch.no_grad()
def encode(model: Model, pixels: Tensor, quality: Tensor, effort: int) -> tuple[Rounded, Tensor]:
    """Encode pictures together.

    Args:
        pixels: (B, 3, H, W) uint8, H and W multiples of 16. quality: (B,), fixed-point. effort: 0..9.

    Returns:
        The integers, and the latents y^ in quantisation steps (B, M, H/16, W/16).
    """
    picture = normalise(pixels)
    rounded = round_latents(model, model.transforms.analysis(picture), quality)
    latent = shown_latents(model, rounded.coded)
    if effort:
        features = features_of(model, rounded.z, quality, latent.shape[2:])
        region = Region.whole(picture, (pixels.shape[2], pixels.shape[3]), latent, rounded, quality)
        bits = symbol_bits(model.tables).to(pixels.device)
        latent, _ = improve(model, region, {region.parts[0].rect: features}, bits, steps_of(model, effort))
        rounded.coded = settle(model, features, quality, latent)
        latent = shown_latents(model, rounded.coded)
    return rounded, latent


def analysed(model: Model, pixels: NDArray[np.uint8]) -> Tensor:
    """The latents y of a picture (H, W, 3), as float16 (M, ceil(H/16), ceil(W/16)): 3 bytes a pixel."""
    height, width = (-(-edge // LATENT) for edge in pixels.shape[:2])
    out = torch.empty(model.config.latent, height, width, dtype=torch.float16)
    for rect, latent in analyse(model, pixels, tile=0):
        out[:, rect.top : rect.bottom, rect.left : rect.right] = latent[0].cpu()
    return out


class LatentCrops:
    """Random crops of pictures' latents, which are analysed once.

    As `training.data.Crops`: batch number `step` is a function of seed, rank and step alone.

    Args:
        latents: (M, h, w) float16 each, as `analysed` makes them. edge: of the square crops, in latents.
    """

    def __init__(self, latents: list[Tensor], edge: int, seed: int = 0, rank: int = 0) -> None:
        self.latents, self.edge, self.seed, self.rank = latents, edge, seed, rank
        self.sizes = [latent.shape[1:] for latent in latents]
        self.chance = by_area(self.sizes)

    def batch(self, step: int, size: int) -> Tensor:
        """`size` crops, (size, M, edge, edge) float16."""
        rng = np.random.default_rng((self.seed, self.rank, step))
        windows = random_windows(rng, self.sizes, self.chance, self.edge, size)
        return torch.stack([self.latents[number][:, rows, columns] for number, rows, columns in windows])
