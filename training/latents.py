"""The latents of files as they are really made: what trains a decoder whose encoder is finished."""

import torch
from torch import Tensor

from codec import DEFAULT_EFFORT
from codec.context import shown_latents
from codec.encoder import round_latents
from codec.model import Model
from codec.search import STEPS, Region, Rounded, improve, symbol_bits
from training.rate_distortion import normalise

SEARCHED_SHARE = 0.7  # of the steps see latents as the default effort finds them, the others as they were rounded


def random_effort() -> int:
    """The effort of a step: the default one or 0."""
    return DEFAULT_EFFORT if torch.rand(1).item() < SEARCHED_SHARE else 0


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
        whole = (slice(0, latent.shape[2]), slice(0, latent.shape[3]))
        region = Region(picture, (pixels.shape[2], pixels.shape[3]), latent, [(whole, rounded)])
        improve(model, region, symbol_bits(model.tables).to(pixels.device), quality, STEPS[effort])
        latent = shown_latents(model, rounded.coded)
    return rounded, latent
