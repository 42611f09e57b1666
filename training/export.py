"""From a trained model to the weights file that ships: integers, probability tables, centroids."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitstream import Tables
from bitstream.entropy import PRECISION, half_width
from codec import DEFAULT_EFFORT, context, hyper, postfilter
from codec.encoder import analyse, no_progress, region, round_latents
from codec.lptn import LPTN
from codec.model import Model, load, part, read_weights, save
from codec.network import Config
from codec.quantise import DETAIL, quantise, thresholds
from codec.search import Draft, error_weight, search
from codec.shipped import WEIGHTS
from codec.translator import Translator
from codec.translators import config_of
from codec.translators import save as save_translator
from training.curvature import with_curvature
from training.data import Crops
from training.loop import blend
from training.postfilter import filter_scales
from training.rate_distortion import TrainableCodec, normalise, random_qualities, scale_of
from training.whitening import WhitenedTranslator

LARGEST_WIDTH = 1024
PROBED, PROBED_EDGE = 32, 256  # pictures on which curvatures are measured, and their edge: with 8 they vary by a tenth
EVERY = (1, 100)  # the qualities of a model that is trained for all


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

    def hyper_latent(gained: Tensor) -> Tensor:
        return nets.hyper_analysis(gained).round().clamp(-hyper.HYPER_LATENT_MAX, hyper.HYPER_LATENT_MAX)

    integers = model.hyper_synthesis.integers()

    def visit(part: context.Pass, mean: Tensor, index: Tensor) -> Tensor:
        return quantise(gained[:, part.channels] - mean / hyper.MEAN_ONE, index, threshold)

    generator = torch.Generator().manual_seed(seed)
    for picture in pixels:
        y = nets.analysis(normalise(picture[None]))
        near = (torch.arange(levels) + torch.rand(levels, generator=generator) - 0.5).clamp(0, levels - 1)
        every = (hyper.QUALITY_ONE + near * hyper.QUALITY_SPAN / (levels - 1)).long()  # (L,)
        hypers.append(hyper_latent(y * nets.gain(every)).flatten(2))  # (L, Z, h w / 16)
        for _ in range(3):
            quality = random_qualities(pixels[:1], *qualities, generator)
            gained = y * nets.gain(quality)
            features = hyper.hyper_synthesis(hyper_latent(gained), quality, integers)
            coded = context.code(features, quality, integers, visit)
            residual = (gained - coded.mean / hyper.MEAN_ONE).flatten()
            parts.append((residual, coded.index.to(torch.uint8).flatten()))
    residual, index = zip(*parts, strict=True)
    return _Observed(torch.cat(residual), torch.cat(index), torch.cat(hypers, dim=2))


def calibrate(
    model: TrainableCodec, pixels: Tensor, seed: int = 0, qualities: tuple[int, int] = EVERY
) -> tuple[Tables, Tensor]:
    """Tables and centroids as they really occur on training pictures, with the prior where observations are few.

    The encoder's rounding depends on the tables and the tables on its rounding, so both are found in turns.

    Args:
        pixels: (B, 3, H, W) uint8, edges multiples of 64.
        qualities: the lowest and the highest that the model is for.

    Returns:
        The tables, and the centroids (64, 4) of `codec.quantise.dequantise`.
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
        trust = 30 * len(counts)  # observations that outweigh the prior
        latent.append(integer_counts(found + trust * (counts / 2**PRECISION)))
    return latent


@torch.no_grad()
def refit(
    model: Model, prior: Tables, pixels: Tensor, seed: int = 0, qualities: tuple[int, int] = EVERY
) -> tuple[Tables, Tensor]:
    """Tables for the symbols that the default effort finds, which are fewer and smaller than those of plain rounding,
    and the scale indices (3, FEATURES) of the filters that pictures want after it.

    Args:
        model: with the tables of `calibrate`, by which the search reckons. prior, qualities: as there.
        pixels: (B, 3, H, W) uint8, edges multiples of 64.
    """
    generator = torch.Generator().manual_seed(seed)
    symbols, indices, filters = [], [], []
    for picture in pixels.permute(0, 2, 3, 1).contiguous().numpy():
        [(rect, latent)] = analyse(model, picture, tile=0)
        quality = random_qualities(pixels[:1], *qualities, generator)
        tile = round_latents(model, latent, quality)
        draft = Draft({rect: tile}, rect, partial(region, picture, device=model.device), picture.shape, quality)
        search(model, draft, DEFAULT_EFFORT, no_progress)
        filters.append((error_weight(quality).item(), postfilter.observe(model, draft)))
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
    """Mean of |s| - |r| over all residuals with the same scale index and magnitude, (64, 4); 0 where there are few."""
    magnitude = symbol.abs().clamp(max=DETAIL - 1)
    cell = seen.index.long() * DETAIL + magnitude.long()
    inward = (symbol.abs() - seen.residual * symbol.sign()).clamp(-0.5, 0.5).double()
    count = torch.bincount(cell, minlength=hyper.SCALES * DETAIL)
    total = torch.bincount(cell, weights=inward * (symbol != 0), minlength=hyper.SCALES * DETAIL)
    return (total / (count + 100)).float().reshape(hyper.SCALES, DETAIL)


def _card(state: dict, options: dict) -> dict[str, str]:
    """Provenance: steps and hours of this run and of those whose weights it started from."""
    brought = options["brought"]
    steps, hours = int(state["step"] + brought["steps"]), round(state["seconds"] / 3600 + brought["hours"], 2)
    qualities = {key: str(options[key]) for key in ("lowest", "highest") if key in options}
    return {"steps": str(steps), "hours": str(hours)} | qualities


def export_translator(checkpoint: Path, path: Path) -> None:
    """Write the averaged translator of a run (training.restoration, training.translation) as a weights file."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    options = json.loads((checkpoint.parent / "options.json").read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = part(state["average"], "net")
    if options["kind"] == "lptn":
        net: Translator | LPTN = LPTN(**options["config"])
    else:
        net = WhitenedTranslator(config_of(options["config"]))
    net.load_state_dict(weights)
    card = _card(state, options) | options.get("card", {})
    save_translator(path, net.fold() if isinstance(net, WhitenedTranslator) else net, card)


def export_checkpoint(
    checkpoint: Path,
    name: str,
    data: Path | None = None,
    folder: Path | None = None,
    crops: int = 64,
    share: float = 1.0,
) -> tuple[Path, bytes]:
    """Write `checkpoint`'s averaged model as NAME.safetensors into `folder` (the package's weights by default).

    Args:
        data: training pictures for `calibrate`; the run's own if None.
        crops: how many crops of 512 x 512 pixels to take from them.
        share: of the way from the weights that the run started from to its end, 0..1. Part of it keeps most of what a
            run on other pictures taught and forgets next to nothing (WiSE-FT: Wortsman et al., CVPR 2022).

    Returns:
        The file and the model id.

    Raises:
        ValueError: the integer bound does not hold, or the run of which a share is wanted started from nothing.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    options = json.loads((checkpoint.parent / "options.json").read_text())
    average = TrainableCodec(Config(**options["config"]))
    average.load_state_dict(state["average"])
    if share < 1:
        _draw_back(average, options.get("init"), share)
    store = Crops(data or Path(options["data"]), 512, seed=1, max_gib=1.0)
    pixels = torch.from_numpy(store.batch(0, crops))
    qualities = (options.get("lowest", EVERY[0]), options.get("highest", EVERY[1]))
    tables, centroid = calibrate(average, pixels, qualities=qualities)
    path = (folder or WEIGHTS) / f"{name}.safetensors"

    integers, density = average.hyper_synthesis.integers(), average.density.state_dict()

    def write(integers: dict[str, Tensor], tables: Tables, curvature: Tensor) -> bytes:
        card = _card(state, options)
        return save(path, average.config, average.transforms, integers, tables, centroid, curvature, density, card)

    write(integers, tables, torch.ones_like(average.transforms.log_gain))
    model = load.__wrapped__(str(path))  # not to be kept: its tables change
    model = with_curvature(model, pixels[:PROBED, :, :PROBED_EDGE, :PROBED_EDGE])
    tables, scales = refit(model, prior_tables(average), pixels, qualities=qualities)
    return path, write(integers | {postfilter.SCALE: scales}, tables, model.curvature)


def _draw_back(average: TrainableCodec, init: str | None, share: float) -> None:
    """Leave the averaged model at a share of the way from the weights `init`."""
    if not init:
        raise ValueError("a share of a run is from weights to weights, and this run started from none")
    blend(average, trainable(init)[0], share)


def export_synthesis(
    checkpoint: Path, name: str, folder: Path | None = None, crops: int = PROBED
) -> tuple[Path, bytes]:
    """Write a model as NAME.safetensors, as it was but for the averaged synthesis of a run (training.decoder), whose
    curvatures are measured on so many crops of the run's pictures.

    Returns:
        The file and the model id, which is that of before.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    options = json.loads((checkpoint.parent / "options.json").read_text())
    old, (average, _) = load(options["model"]), trainable(options["model"])
    average.transforms.synthesis.load_state_dict(part(state["average"], "net"))
    path = (folder or WEIGHTS) / f"{name}.safetensors"
    density = average.density.state_dict()
    card = _card(state, options) | {key: old.card[key] for key in ("lowest", "highest") if key in old.card}
    pixels = torch.from_numpy(Crops(Path(options["data"]), PROBED_EDGE, seed=1, max_gib=1.0).batch(0, crops))
    new = with_curvature(replace(old, transforms=average.transforms), pixels)
    save(path, new.config, new.transforms, new.integers, new.tables, new.centroid, new.curvature, density, card)
    return path, new.identity


def trainable(name: str) -> tuple[TrainableCodec, dict[str, str]]:
    """A model in training form and its card, from a shipped name or a weights file: the inverse of an export."""
    shipped = WEIGHTS / f"{name}.safetensors"
    tensors, metadata = read_weights(shipped if shipped.exists() else Path(name))
    model = TrainableCodec(Config(**json.loads(metadata["config"])))
    model.transforms.load_state_dict(part(tensors, "transforms"))
    model.density.load_state_dict(part(tensors, "density"))
    model.hyper_synthesis.set_integers(part(tensors, "integers"))
    return model, json.loads(metadata["card"])
