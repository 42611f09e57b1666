"""The recipe of restorers: translators that undo JPEG's traces, noise, blur or doubled size, one task or several."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lapic.codec.model.translator_weights import read
from lapic.codec.nets.translator import Translator, TranslatorConfig
from lapic.codec.picture.tensors import to_levels
from lapic.training import degradations, paired
from lapic.training.data import Crops, list_pictures, read_rgb
from lapic.training.degradations import DEGRADATIONS, damage
from lapic.training.loop import Batch, Figures, Models, Recipe
from lapic.training.muon import Muon
from lapic.training.paired import Discriminators, PairedOptions
from lapic.training.rate_distortion import normalise
from lapic.training.run_files import checkpoint_of, prior_training
from lapic.training.whitening import WhitenedTranslator

TASK_SHARE = {"jpeg": 0.4, "denoise": 0.2, "deblur": 0.28, "upscale": 0.12}  # of the samples
MUON_LR_SCALE = 16.0
LEAST_ERROR = 1e-3  # mean square error, 0..255, that no gain is counted below
EDGE = 16  # validation pictures are cut to multiples of this
CASES: dict[str, tuple[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]]] = {
    "jpeg10": ("jpeg", lambda pixels: degradations.compress(pixels, 10)),
    "jpeg40": ("jpeg", lambda pixels: degradations.compress(pixels, 40)),
    "noise25": ("denoise", lambda pixels: degradations.gaussian_noise(pixels, 25, np.random.default_rng(3))),
    "blur1.6": ("deblur", lambda pixels: degradations.gaussian_blur(pixels, 1.6)),
    "resize2": ("deblur", lambda pixels: degradations.resize_blur(pixels, 2.0)),
    "resize2.5": ("deblur", lambda pixels: degradations.resize_blur(pixels, 2.5)),
    "double": ("upscale", lambda pixels: degradations.resize_blur(pixels, 2.0)),
}  # what validation damages, and for which task


@dataclass(frozen=True)
class RestorationOptions(PairedOptions):
    """A run of a restorer: faithful as it is, realistic with `lpips` and `gan`."""

    data: Path = Path("data")
    validation: Path | None = None
    init: str | None = None  # a translator's name or weights file to start from
    clip: float = 60.0
    tasks: tuple[str, ...] = tuple(DEGRADATIONS)
    widths: tuple[int, ...] = TranslatorConfig.widths
    blocks: tuple[int, ...] = TranslatorConfig.blocks


def optimisers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of a translator but the last, Adam for all else."""
    matrices, rest = [], []
    for name, value in model.named_parameters():
        inner = value.ndim == 4 and min(value.shape[:2]) > 1 and not name.startswith("leave")
        (matrices if inner else rest).append(value)
    adam = torch.optim.Adam([{"params": rest, "lr_scale": 1.0}], betas=(0.9, 0.99), fused=True)
    return [Muon([{"params": matrices, "lr_scale": MUON_LR_SCALE}]), adam]


class TrainableRestorer(nn.Module):
    """A whitened translator that takes pictures as integers, (B, 3, H, W) uint8 and task numbers (B,)."""

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.net = WhitenedTranslator(config)

    def forward(self, pixels: Tensor, task: Tensor) -> Tensor:
        """Restored pictures (B, 3, H, W), about -1..1."""
        return self.net(normalise(pixels), task)


def root_mean_square(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean over the batch of each sample's root mean square error in grey levels, of pictures (B, 3, H, W) in -1..1.

    Every sample's gradient has the same length, however strong its damage. The gradient of the mean square follows the
    samples with the largest errors; that of PSNR, the flat crops, whose errors are near zero.
    """
    error = (restored - clean).square().flatten(1).mean(1)
    return 127.5 * (error + 1e-6).sqrt().mean()


def pairs(crops: Crops, options: RestorationOptions, step: int) -> Batch:
    """The batch of a step: damaged and clean pictures (B, 3, P, P) uint8 and tasks (B,)."""
    rng = np.random.default_rng((options.seed + 1, crops.rank, step))
    share = np.array([TASK_SHARE[task] for task in options.tasks])
    tasks = rng.choice(len(share), options.batch, p=share / share.sum())
    both = [
        damage(np.ascontiguousarray(crop.transpose(1, 2, 0)), options.tasks[task], rng)
        for crop, task in zip(crops.batch(step, options.batch), tasks, strict=True)
    ]
    damaged, clean = (torch.from_numpy(np.stack([pair[side].transpose(2, 0, 1) for pair in both])) for side in (0, 1))
    return damaged, clean, torch.from_numpy(tasks)


@torch.no_grad()
def validate(model: nn.Module, pictures: list[NDArray[np.uint8]]) -> Figures:
    """Mean gain in dB over the damaged picture in each of CASES that the model is for, and their mean as `score`."""
    device = next(model.parameters()).device
    report = {}
    pictures = [picture[: len(picture) // EDGE * EDGE, : picture.shape[1] // EDGE * EDGE] for picture in pictures]
    tasks = model.net.config.tasks
    for case, (task, harm) in CASES.items():
        if task not in tasks:
            continue
        number, gains = torch.tensor([tasks.index(task)], device=device), []
        for clean in pictures:
            damaged, target = (
                torch.from_numpy(np.array(x.transpose(2, 0, 1)))[None].to(device) for x in (harm(clean), clean)
            )
            shown = to_levels(model(damaged, number))
            before, after = ((x.float() - target).square().mean().clamp(min=LEAST_ERROR) for x in (damaged, shown))
            gains.append(10 * torch.log10(before / after).item())
        report[case] = sum(gains) / len(gains)
    return {"score": sum(report.values()) / len(report)} | report


def start(model: Any, options: Any, crops: Crops, wanted: str) -> Figures:
    """Whiten a model's `net` by crops, load the weights of `options.init`, both unless the run is resumed, and return
    the prior training. Raises ValueError if those weights are not the `wanted` ones."""
    if checkpoint_of(options.out).exists():
        return prior_training(options.out, {})
    model.net.fit(normalise(torch.from_numpy(crops.sample())))
    if not options.init:
        return prior_training(options.out, {})
    plain, card = read(options.init)
    if not isinstance(plain, Translator) or plain.config != model.net.config:
        raise ValueError(f"{options.init} is not {wanted}")
    model.net.unfold(plain)
    return prior_training(options.out, card)


def recipe(options: RestorationOptions, part: tuple[int, int] = (0, 1)) -> Recipe:
    """The recipe for process `part` = (rank, count). Raises ValueError if a held-out picture is too small."""
    crops = Crops(options.data, options.patch, options.seed, part=part)
    print(f"{len(crops.pictures)} pictures, {crops.megapixels:.0f} megapixels")
    held_out = [read_rgb(path) for path in (list_pictures(options.validation) if options.validation else [])]
    if any(min(picture.shape[:2]) < EDGE for picture in held_out):
        raise ValueError(f"edges of held-out pictures are of {EDGE} pixels or more")
    model = TrainableRestorer(TranslatorConfig(options.tasks, options.widths, options.blocks))
    wanted = f"a restorer of this size with the tasks {', '.join(options.tasks)}"
    prior = start(model, options, crops, wanted)
    models: Models = {"model": model} | ({"discriminator": Discriminators(channels=6)} if options.gan else {})
    lpips = paired.perceptual(options)

    def generator(models: Models, batch: Batch, shared: dict[str, Any]) -> tuple[Tensor, Figures]:
        damaged, clean, task = batch
        restored, real = models["model"](damaged, task), normalise(clean)
        distance = root_mean_square(restored, real)
        pictures = {"fake": restored, "real": real, "condition": normalise(damaged)}
        more, figures = paired.generator(options, lpips, models, pictures, shared)
        return distance + more, {"rmse": distance.item()} | figures

    return Recipe(
        models=models,
        optimisers=paired.optimisers(models, optimisers(model.net)),
        losses=paired.losses(options, generator),
        batch=lambda step: pairs(crops, options, step),
        validate=(lambda average: validate(average, held_out)) if held_out else None,
        notes={"kind": "translator", "config": asdict(model.net.config), "prior_training": prior},
    )
