"""The recipe of the entropy model alone: hyper-analysis, hyper-synthesis, context and densities of a finished codec.

Analysis and synthesis stay as they are, so a picture decodes to the same pixels from fewer bits. All pictures are
analysed once, before the first step, and a step costs a tenth of one of stage 1. The result is a new model with an id
of its own. Let the learning rate fall to 0 and use no moving average (`--average 0`): the weights are trained with
their own rounding, which differs from that of their mean.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lapic.codec.defaults import DEFAULT_MODEL
from lapic.codec.encode.rate import rate_weight
from lapic.codec.model.codec_weights import load
from lapic.codec.nets import levels
from lapic.codec.nets.config import Config
from lapic.codec.picture.tiling import LATENT
from lapic.training.codec import validation_qualities
from lapic.training.data import Crops, add_noise_crops, held_out
from lapic.training.export import trainable
from lapic.training.latents import LatentCrops, analysed
from lapic.training.loop import Batch, Figures, Models, Recipe
from lapic.training.rate_distortion import QualityOptions, TrainableCodec, check_qualities, random_qualities
from lapic.training.run_files import checked_digests, prior_training


@dataclass(frozen=True)
class EntropyOptions(QualityOptions):
    """A run for the entropy model."""

    data: Path = Path("data")
    validation: Path | None = None
    model: str = DEFAULT_MODEL  # the codec, by name or weights file


class TrainableEntropy(TrainableCodec):
    """A codec that gives the bits of pictures only, from their latents, with symbols rounded as files hold them."""

    def __init__(self, config: Config, rounding: tuple[Tensor, Tensor]) -> None:
        super().__init__(config)
        self.rounding = rounding
        for frozen in (self.transforms.analysis, self.transforms.synthesis):
            frozen.requires_grad_(False)
        self.transforms.log_gain.requires_grad_(False)

    def forward(self, latent: Tensor, quality: Tensor) -> Tensor:
        """Bits per pixel (B,), in training by the quick twin and of noisy latents.

        Args:
            latent: y, (B, M, h, w), h and w multiples of 4; the bits of float16 as int16, because Fabric's mixed
                precision would round floats to bfloat16 on their way in.
            quality: (B,), fixed-point.
        """
        gained = latent.view(torch.float16).float() * self.transforms.gain(quality)
        _, bits_y, bits_z = self.entropy(gained, quality, quick=self.training)
        return (bits_y + bits_z) / (latent[0, 0].numel() * LATENT**2)


@torch.no_grad()
def validate(model: TrainableEntropy, latents: list[Tensor], lowest: int = 1, highest: int = 100) -> Figures:
    """`score`, the mean training objective over five qualities (lower is better), and the bits per pixel `bpp@q` of
    latents (M, h, w) float16 as files hold them."""
    model.eval()
    device = next(model.parameters()).device
    report, scores = {}, []
    for quality in validation_qualities(lowest, highest):
        fixed = torch.tensor([quality * levels.QUALITY_ONE], device=device)
        found = [model(latent[None].view(torch.int16).to(device), fixed).item() for latent in latents]
        report[f"bpp@{quality}"] = sum(found) / len(found)
        scores.append(report[f"bpp@{quality}"] / rate_weight(fixed).item() ** 0.5)
    model.train()
    return {"score": sum(scores) / len(scores)} | report


def recipe(options: EntropyOptions, part: tuple[int, int] = (0, 1)) -> Recipe:
    """The recipe for process `part` = (rank, count)."""
    check_qualities(options.lowest, options.highest)
    starts = checked_digests(options.out, model=options.model)
    pictures = Crops(options.data, options.patch, options.seed, part=part)
    finished = load(options.model)
    print(f"{len(pictures.pictures)} pictures, {pictures.megapixels:.0f} megapixels: analysed first", flush=True)
    rng = np.random.default_rng(options.seed)
    hard = (add_noise_crops(picture.transpose(2, 0, 1)[None], rng)[0] for picture in pictures.pictures)
    latents = [analysed(finished, picture.transpose(1, 2, 0)) for picture in hard]
    crops = LatentCrops(latents, options.patch // LATENT, options.seed, part[0])
    held = [analysed(finished, picture.permute(1, 2, 0).numpy()) for picture in held_out(options.validation)]
    codec, card = trainable(options.model)
    model = TrainableEntropy(codec.config, (finished.threshold, finished.centroid))
    model.load_state_dict(codec.state_dict())
    learned = [value for value in model.parameters() if value.requires_grad]

    def objective(models: Models, batch: Batch, shared: object) -> tuple[Tensor, Figures]:
        (latent,) = batch
        quality = random_qualities(latent, options.lowest, options.highest)
        bpp = models["model"](latent, quality)
        return (bpp / rate_weight(quality).sqrt()).mean(), {"bpp": bpp.mean().item()}

    return Recipe(
        models={"model": model},
        optimisers={"model": [torch.optim.Adam([{"params": learned, "lr_scale": 1.0}], betas=(0.9, 0.98), fused=True)]},
        losses={"model": objective},
        batch=lambda step: (crops.batch(step, options.batch).view(torch.int16),),
        validate=(lambda average: validate(average, held, options.lowest, options.highest)) if held else None,
        after_step=model.hyper_synthesis.keep_exact,
        notes={"config": asdict(model.config), "prior_training": prior_training(options.out, card), **starts},
    )
