"""The curvature of the decoded picture's square error in each latent channel, by which the search scales its steps.

A synthesis trained on rounded latents attenuates rounding noise, so curvatures are lower than behind an orthonormal
transform, and lowest in channels of low energy.
"""

from dataclasses import replace

import torch
from torch import Tensor

from lapic.codec.model.codec_weights import Model
from lapic.codec.nets import levels as levels_module
from lapic.training.latents import encode

STEP = 0.1  # of the probes, in quantisation steps: small enough for a linear approximation
TRUSTED = 30  # quality from which on the linear approximation holds over a step of the search
LEVELLED = 0.4  # towards which all curvatures are drawn below that quality
LEAST = 0.01  # the search divides by curvatures, which are 0 in unused channels


def with_curvature(model: Model, pixels: Tensor, seed: int = 0) -> Model:
    """The model with its curvatures measured on pictures (B, 3, H, W) uint8, H and W multiples of 16, at each rate
    level that lies within the model's qualities; the levels beyond have those of its lowest or highest quality."""
    levels, generator = model.config.levels, torch.Generator().manual_seed(seed)
    span = levels_module.QUALITY_SPAN // (levels - 1)
    lowest, highest = (round(quality * levels_module.QUALITY_ONE) for quality in model.qualities)
    qualities = [min(max(levels_module.QUALITY_ONE + level * span, lowest), highest) for level in range(levels)]
    rows = {
        quality: _measured(model, pixels, torch.tensor([quality] * len(pixels)), generator)
        for quality in dict.fromkeys(qualities)  # levels beyond the model's qualities share one
    }
    return replace(model, curvature=torch.stack([rows[quality] for quality in qualities]))


def _measured(model: Model, pixels: Tensor, quality: Tensor, generator: torch.Generator) -> Tensor:
    """(M,): the diagonal of J^T J for the synthesis' Jacobian J, its mean over all places, by Hutchinson's estimator:
    with random signs d, J^T J d / d is right on average. At low qualities, drawn towards LEVELLED."""
    with torch.no_grad():
        gain = model.transforms.gain(quality)
        latent = encode(model, pixels, quality, effort=0)[1] / gain
        signs = torch.randint(0, 2, latent.shape, generator=generator) * 2.0 - 1
        probe = STEP * signs / gain  # as large in the picture, for an orthonormal synthesis, as STEP for each channel
        moved = model.transforms.synthesis.picture(latent + probe, quality)
    latent.requires_grad_(True)
    made = model.transforms.synthesis.picture(latent, quality)
    (answer,) = torch.autograd.grad(made, latent, moved - made.detach())
    tangent = (answer / probe).mean((0, 2, 3)).clamp(min=LEAST)
    trust = (quality[0] / (TRUSTED * levels_module.QUALITY_ONE)).clamp(0.15, 1)
    return trust * tangent + (1 - trust) * LEVELLED
