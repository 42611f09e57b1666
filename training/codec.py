"""The recipe of stage 1: the codec, for rate and distortion."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lapic.codec.encode.rate import rate_weight
from lapic.codec.model.codec_weights import load
from lapic.codec.nets import levels
from lapic.codec.nets.config import SECOND, Config
from lapic.codec.picture.tensors import to_levels
from lapic.training.data import PATTERN_FRACTION, Crops, held_out
from lapic.training.distillation import Teacher, distillation, follow
from lapic.training.export import trainable
from lapic.training.eye import ObjectiveOptions
from lapic.training.initial import grow, initialise
from lapic.training.loop import Batch, Figures, Loss, Models, Recipe
from lapic.training.muon import Muon
from lapic.training.rate_distortion import (
    QualityOptions,
    TrainableCodec,
    check_qualities,
    loss,
    normalise,
    random_qualities,
)
from lapic.training.run_files import checked_digests, prior_training, resumed_options

MUON_LR_SCALE = 16.0  # Muon's learning rate is the spectral norm of an update, not the size of its elements


@dataclass(frozen=True)
class RateDistortionOptions(ObjectiveOptions, QualityOptions):
    """A run for rate and distortion."""

    data: Path = Path("data")
    validation: Path | None = None
    patterns: float = PATTERN_FRACTION  # share of crops that are patterns


@dataclass(frozen=True)
class CodecOptions(RateDistortionOptions):
    """A run of stage 1."""

    init: str | None = None  # a shipped model or a weights file to start from; the KLT if None
    quarter: int = 0  # width of the stage at 1/4 that a model without one gets
    context: int = 0  # low channels that are coded first, as context, in a model that has no context
    generation: int = 1  # of a new model's networks
    teacher: str | None = None  # a model of generation 1 whose latents a new model of generation 2 learns from


def optimisers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of analysis and synthesis, Adam for all else, in groups by learning rate: the linear paths,
    which start near their optimum and are sensitive to noise; entropy model and gains, which learn fast; the rest. In
    equal time Muon gains more than Adam (docs/notebook/training.md)."""
    matrices: list[Tensor] = []
    groups: dict[float, list] = {1.0: [], 2.0: [], 0.04: []}
    learned = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    for name, value in learned:
        fast = any(word in name for word in ("hyper", "density", "log_gain"))
        lr_scale = 0.04 if ".linear." in name else 2.0 if fast else 1.0
        is_matrix = lr_scale == 1.0 and value.ndim == 4 and min(value.shape[:2]) > 1
        (matrices if is_matrix else groups[lr_scale]).append(value)
    adam = [{"params": values, "lr_scale": lr_scale} for lr_scale, values in groups.items()]
    return [
        Muon([{"params": matrices, "lr_scale": MUON_LR_SCALE}]),
        torch.optim.Adam(adam, betas=(0.9, 0.99), fused=True),
    ]


def validation_qualities(lowest: int = 1, highest: int = 100) -> list[int]:
    """Five qualities, evenly spaced."""
    return [lowest + (highest - lowest) * quarter // 4 for quarter in range(5)]


@torch.no_grad()
def validate(model: TrainableCodec, pictures: list[Tensor], lowest: int = 1, highest: int = 100) -> Figures:
    """Rounded rates and PSNR of `pictures`, (3, H, W) uint8 with edges of multiples of 64, at five qualities.

    Returns `score`, the mean training objective (lower is better), and `bpp@q`, `psnr@q`.
    """
    model.eval()
    device = next(model.parameters()).device
    report, scores = {}, []
    for quality in validation_qualities(lowest, highest):
        fixed = torch.tensor([quality * levels.QUALITY_ONE], device=device)
        rows = []
        for picture in (picture.to(device) for picture in pictures):
            estimate = model(picture[None], fixed)
            shown = to_levels(estimate.picture)
            mse = (shown - picture).square().mean().item()
            bpp = (estimate.bits_y + estimate.bits_z).item() / picture[0].numel()
            rows.append((bpp, mse, 10 * torch.log10(torch.tensor(255**2 / max(mse, 1e-3))).item()))
        bpp, mse, psnr = (sum(column) / len(rows) for column in zip(*rows, strict=True))
        weight = rate_weight(fixed).item()
        scores.append((weight * mse + bpp) / weight**0.5)
        report |= {f"bpp@{quality}": bpp, f"psnr@{quality}": psnr}
    model.train()
    return {"score": sum(scores) / len(scores)} | report


def _start(options: CodecOptions, config: Config, crops: Crops) -> tuple[TrainableCodec, Figures]:
    """A model to train and its prior training: the run's own if it is resumed; that of `options.init`; or a new one
    that starts as the KLT."""
    if described := resumed_options(options.out):
        return TrainableCodec(Config(**described["config"])), prior_training(options.out, {})
    sample = normalise(torch.from_numpy(crops.sample()))
    if options.init:
        model, card = trainable(options.init)
        return grow(model, options.quarter, options.context, sample), prior_training(options.out, card)
    if options.generation == 2:
        config = SECOND
    config = replace(config, quarter=options.quarter or config.quarter, context=options.context or config.context)
    model = TrainableCodec(config)
    if options.teacher:
        return model, prior_training(options.out, {})
    kept = initialise(model, sample)
    print(f"KLT start: {config.latent} channels keep {kept:.5f} of the energy")
    return model, prior_training(options.out, {})


def _check_networks(options: CodecOptions, config: Config) -> None:
    """Raise ValueError if there is a teacher for networks that cannot follow it, a stage at 1/4 for some that have
    none, or a context of all their channels, or if the run that is resumed has networks of another generation."""
    if options.teacher and (options.init or options.generation != 2):
        raise ValueError("a teacher is for a new model of generation 2")
    wanted = load(options.init).config if options.init else SECOND if options.generation == 2 else config
    if options.quarter and wanted.generation == 2:
        raise ValueError("networks of generation 2 have no stage at 1/4: leave out --quarter")
    if options.context >= wanted.latent:
        raise ValueError(f"the context must be of fewer channels than the latent's {wanted.latent}")
    teacher = load(options.teacher).config if options.teacher else None
    if teacher and (teacher.generation != 1 or teacher.latent < wanted.latent):
        raise ValueError(
            f"{options.teacher} is no teacher: it must be of generation 1, with at least {wanted.latent} channels"
        )
    resumed = resumed_options(options.out).get("config")
    if resumed and Config(**resumed).generation != wanted.generation:
        raise ValueError(f"{options.out} holds another run, of networks of another generation: name another --out")


def recipe(options: CodecOptions, config: Config = Config(), part: tuple[int, int] = (0, 1)) -> Recipe:
    """The recipe for process `part` = (rank, count); with `options.init` that model's configuration is used. Raises
    ValueError if the options do not fit each other or the run that is resumed."""
    _check_networks(options, config)
    starts = checked_digests(options.out, init=options.init, teacher=options.teacher)
    crops = read_crops(options, part)
    model, prior = _start(options, config, crops)
    if options.init:
        finished = load(options.init)
        model.rounding = finished.threshold, finished.centroid
    notes = {"config": asdict(model.config), "prior_training": prior, **starts}
    recipe = rate_distortion_recipe(options, crops, model, notes)
    if options.teacher:
        teacher = _teacher(options, options.teacher, model, crops)
        recipe.losses = {"model": distillation(teacher, options.lowest, options.highest, options.distortion())}
        recipe.common = [teacher.kept]
        notes["kept"] = teacher.kept.tolist()
    return replace(recipe, after_step=model.hyper_synthesis.keep_exact)


def _teacher(options: CodecOptions, name: str, model: TrainableCodec, crops: Crops) -> Teacher:
    """The teacher that a new model starts from, or that of a resumed run, with the channels that the run kept."""
    transforms = trainable(name)[0].transforms
    kept = resumed_options(options.out).get("kept")
    if kept:
        return Teacher(transforms, torch.tensor(kept))
    return follow(model, transforms, normalise(torch.from_numpy(crops.sample())), options.highest)


def read_crops(options: RateDistortionOptions, part: tuple[int, int]) -> Crops:
    """The training pictures of process `part` = (rank, count). Raises ValueError if there is no quality to train for,
    and FileNotFoundError if there are no pictures."""
    check_qualities(options.lowest, options.highest)
    crops = Crops(options.data, options.patch, options.seed, part=part)
    print(f"{len(crops.pictures)} pictures, {crops.megapixels:.0f} megapixels")
    return crops


def rate_distortion_recipe(
    options: RateDistortionOptions, crops: Crops, model: nn.Module, notes: dict[str, Any]
) -> Recipe:
    """The recipe that trains `model`, which gives an Estimate for pixels and qualities, for rate and distortion."""
    pictures = held_out(options.validation)
    return Recipe(
        models={"model": model},
        optimisers={"model": optimisers(model)},
        losses={"model": objective(options)},
        batch=lambda step: (torch.from_numpy(crops.hard_batch(step, options.batch, options.patterns)),),
        validate=(lambda average: validate(average, pictures, options.lowest, options.highest)) if pictures else None,
        notes=notes,
    )


def objective(options: RateDistortionOptions) -> Loss:
    """The loss of rate and distortion at random qualities, for a batch of crops (B, 3, P, P) uint8."""
    distortion = options.distortion()

    def rate_distortion(models: Models, batch: Batch, shared: object) -> tuple[Tensor, Figures]:
        (pixels,) = batch
        quality = random_qualities(pixels, options.lowest, options.highest)
        estimate = models["model"](pixels, quality)
        total, bpp, mse = loss(estimate, pixels, quality, distortion.to(pixels.device))
        return total, {"bpp": bpp.mean().item(), "mse": mse.mean().item()}

    return rate_distortion
