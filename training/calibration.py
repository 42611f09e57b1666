"""The probability tables, centroids and filter scales of a model, measured on pictures."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapic.bitstream import Tables
from lapic.bitstream.entropy import PRECISION, half_width
from lapic.codec.arguments import no_progress
from lapic.codec.defaults import DEFAULT_EFFORT
from lapic.codec.encode.draft import Draft
from lapic.codec.encode.encoder import analyse, round_latents
from lapic.codec.encode.rate import error_weight
from lapic.codec.encode.search import search
from lapic.codec.exact import context, hyper
from lapic.codec.exact.quantise import DETAIL, pass_quantiser, quantise, thresholds
from lapic.codec.model.codec_weights import Model
from lapic.codec.nets import levels as levels_module
from lapic.codec.picture.tensors import region
from lapic.training.postfilter import filter_scales
from lapic.training.qualities import ALL_QUALITIES
from lapic.training.rate_distortion import TrainableCodec, normalise, random_qualities, scale_of

LARGEST_WIDTH = 1024


def integer_counts(probability: NDArray[np.float64]) -> NDArray[np.int32]:
    """Round a distribution to integers >= 1 that sum to 2^24; the rounding error goes to the largest entry."""
    room = 2**PRECISION - len(probability)
    counts = np.floor(probability / probability.sum() * room).astype(np.int64) + 1
    counts[counts.argmax()] += 2**PRECISION - counts.sum()
    return counts.astype(np.int32)


def _gaussian(scale: float, width: int) -> NDArray[np.float64]:
    """Mass of -w..w and of everything outside under a Gaussian, with a thousandth of a Laplacian for its tails."""
    edges = torch.arange(-width - 0.5, width + 1, dtype=torch.float64) / scale
    gauss = torch.special.ndtr(edges).diff().numpy()
    laplace = np.exp(-np.abs(np.arange(-width, width + 1)) / max(scale, 0.3))
    mass = 0.999 * gauss + 0.001 * laplace / laplace.sum()
    return np.append(mass, 1e-6)


def prior_tables(model: TrainableCodec) -> Tables:
    """Tables straight from the trained densities: CompressAI's entropy bottleneck for z, Gaussians for y."""
    reach = hyper.HYPER_LATENT_MAX
    grid = torch.arange(-reach, reach + 1, dtype=torch.float32).repeat(model.config.levels * model.config.hyper, 1)
    with torch.no_grad():
        model.density.eval()
        likelihood = model.density(grid[None])[1][0].double().cpu().numpy()  # (L Z, 127)
    latent = []
    for index in range(hyper.SCALES):
        scale = float(scale_of(torch.tensor(float(index))))
        width = min(LARGEST_WIDTH, int(6 * scale) + 3)
        latent.append(integer_counts(_gaussian(scale, width)))
    rows = np.stack([integer_counts(row) for row in likelihood])
    return Tables(rows.reshape(model.config.levels, model.config.hyper, -1), latent)


@dataclass
class _Observed:
    """Residuals r and scale indices of every latent of some pictures, and at each rate level their hyper-latents by
    channel, (L, Z, N)."""

    residual: Tensor
    index: Tensor
    z: Tensor


@torch.no_grad()
def _observe(
    model: TrainableCodec, pixels: Tensor, threshold: Tensor, seed: int, qualities: tuple[int, int]
) -> _Observed:
    """Pass pictures (B, 3, H, W) uint8 through the encoder, each at several random qualities."""
    nets, parts, hypers = model.transforms, [], []
    levels = model.config.levels

    integers = model.hyper_synthesis.integers()
    generator = torch.Generator().manual_seed(seed)
    for picture in pixels:
        y = nets.analysis(normalise(picture[None]))
        near = (torch.arange(levels) + torch.rand(levels, generator=generator) - 0.5).clamp(0, levels - 1)
        every = (levels_module.QUALITY_ONE + near * levels_module.QUALITY_SPAN / (levels - 1)).long()  # (L,)
        hypers.append(model.hyper_latent(y * nets.gain(every)).round().flatten(2))  # (L, Z, h w / 16)
        for _ in range(3):
            quality = random_qualities(pixels[:1], *qualities, generator)
            gained = y * nets.gain(quality)
            features = hyper.hyper_synthesis(model.hyper_latent(gained).round(), quality, integers)
            coded = context.run_passes(features, quality, integers, pass_quantiser(gained, threshold))
            residual = (gained - coded.mean / hyper.MEAN_ONE).flatten()
            parts.append((residual, coded.index.to(torch.uint8).flatten()))
    residual, index = zip(*parts, strict=True)
    return _Observed(torch.cat(residual), torch.cat(index), torch.cat(hypers, dim=2))


def calibrate(
    model: TrainableCodec, pixels: Tensor, seed: int = 0, qualities: tuple[int, int] = ALL_QUALITIES
) -> tuple[Tables, Tensor]:
    """Tables and centroids measured on training pictures, with the prior where observations are few.

    The encoder's rounding depends on the tables and the tables on its rounding, so both are found by iteration.

    Args:
        pixels: (B, 3, H, W) uint8, edges multiples of 64.
        qualities: the lowest and the highest that the model is for.

    Returns:
        The tables, and the centroids (64, 4) of `codec.exact.quantise.dequantise`.
    """
    prior = prior_tables(model)
    seen = _observe(model, pixels, thresholds(prior), seed, qualities)
    tables = Tables(_observed_hyper(prior, seen.z), prior.latent)
    for _ in range(3):
        symbol = quantise(seen.residual, seen.index, thresholds(tables))
        tables = Tables(tables.hyper, _observed_latent(prior, symbol, seen.index))
    return tables, _centroids(seen, symbol)


def _observed_latent(prior: Tables, symbol: Tensor, index: Tensor) -> list[NDArray[np.int32]]:
    """Tables of symbols by their scale indices."""
    latent = []
    for number, counts in enumerate(prior.latent):
        width = half_width(counts)
        values = symbol[index == number].clamp(-width - 1, width + 1).long() + width + 1
        found = torch.bincount(values, minlength=2 * width + 3).double().numpy()
        found = (found + found[::-1]) / 2  # symmetric; its two ends are escapes
        found = np.append(found[1:-1], found[0] + found[-1])
        trust = 30 * len(counts)  # the number of observations that weighs as much as the prior
        latent.append(integer_counts(found + trust * (counts / 2**PRECISION)))
    return latent


@torch.no_grad()
def refit(
    model: Model, prior: Tables, pixels: Tensor, seed: int = 0, qualities: tuple[int, int] = ALL_QUALITIES
) -> tuple[Tables, Tensor]:
    """Tables for the symbols of the default effort, which are fewer and smaller than those of plain rounding, and the
    scale indices (3, FEATURES) of the filters fitted after it.

    Args:
        model: with the tables of `calibrate`, which give the search its rates. prior, qualities: as there.
        pixels: (B, 3, H, W) uint8, edges multiples of 64.
    """
    generator = torch.Generator().manual_seed(seed)
    symbols, indices, filters = [], [], []
    for picture in pixels.permute(0, 2, 3, 1).contiguous().numpy():
        [(rect, latent)] = analyse(model, picture, tile=0)
        quality = random_qualities(pixels[:1], *qualities, generator)
        tile = round_latents(model, latent, quality)
        draft = Draft({rect: tile}, rect, partial(region, picture, device=model.device), picture.shape, quality)
        errors = search(model, draft, DEFAULT_EFFORT, no_progress)
        filters.append((error_weight(quality).item(), errors))
        symbols.append(tile.coded.symbol.flatten())
        indices.append(tile.coded.index.flatten())
    tables = Tables(model.tables.hyper, _observed_latent(prior, torch.cat(symbols), torch.cat(indices)))
    return tables, filter_scales(tables, filters)


def _observed_hyper(prior: Tables, z: Tensor) -> NDArray[np.int32]:
    """Tables of hyper-latents (L, Z, N) by level and channel."""
    rows = []
    for counts, values in zip(prior.hyper.reshape(z.shape[0] * z.shape[1], -1), z.flatten(0, 1).long(), strict=True):
        found = torch.bincount(values + hyper.HYPER_LATENT_MAX, minlength=len(counts)).double().numpy()
        rows.append(integer_counts(found + 300 * (counts / 2**PRECISION)))
    return np.stack(rows).reshape(prior.hyper.shape)


def _centroids(seen: _Observed, symbol: Tensor) -> Tensor:
    """Mean of |s| - |r| over all residuals with the same scale index and magnitude, (64, 4); 0 where there are few, or
    where it is negative, which the format cannot hold."""
    magnitude = symbol.abs().clamp(max=DETAIL - 1)
    cell = seen.index.long() * DETAIL + magnitude.long()
    inward = (symbol.abs() - seen.residual * symbol.sign()).clamp(-0.5, 0.5).double()
    count = torch.bincount(cell, minlength=hyper.SCALES * DETAIL)
    total = torch.bincount(cell, weights=inward * (symbol != 0), minlength=hyper.SCALES * DETAIL)
    return (total / (count + 100)).clamp(min=0).float().reshape(hyper.SCALES, DETAIL)
