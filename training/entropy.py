"""The recipe of the entropy model alone: hyper-analysis, hyper-synthesis, context and densities of a finished codec.

Analysis and synthesis stay as they are, so a picture decodes to the same pixels from fewer bits, and a step costs a
quarter of one of stage 1. The result is a new model with an id of its own.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from codec import DEFAULT_MODEL
from codec.model import load
from codec.network import Config
from codec.search import rate_weight
from training.codec import validate
from training.data import Crops, held_out
from training.export import trainable
from training.loop import Batch, Figures, Models, Options, Recipe, brought_along
from training.rate_distortion import TrainableCodec, normalise, random_qualities


@dataclass(frozen=True)
class EntropyOptions(Options):
    """A run for the entropy model."""

    data: Path = Path("data")
    validation: Path | None = None
    model: str = DEFAULT_MODEL  # the codec, by name or weights file
    batch: int = 16
    patch: int = 256


class TrainableEntropy(TrainableCodec):
    """A codec that in training gives the bits of pictures only, from symbols rounded as files hold them."""

    def __init__(self, config: Config, threshold: Tensor) -> None:
        super().__init__(config)
        self.threshold = threshold
        for frozen in (self.transforms.analysis, self.transforms.synthesis):
            frozen.requires_grad_(False)
        self.transforms.log_gain.requires_grad_(False)

    def forward(self, pixels: Tensor, quality: Tensor):
        """In training bits per pixel (B,), otherwise as the codec."""
        if not self.training:
            return super().forward(pixels, quality)
        with torch.no_grad():
            gained = self.transforms.analysis(normalise(pixels)) * self.transforms.gain(quality)
        _, bits_y, bits_z = self.entropy(gained, quality, self.threshold.to(pixels.device), quick=True)
        return (bits_y + bits_z) / (pixels.shape[-1] * pixels.shape[-2])


def recipe(options: EntropyOptions, part: tuple[int, int] = (0, 1)) -> Recipe:
    """The recipe for process `part` = (rank, count)."""
    crops = Crops(options.data, options.patch, options.seed, part=part)
    print(f"{len(crops.pictures)} pictures, {crops.megapixels:.0f} megapixels")
    pictures = held_out(options.validation)
    codec, card = trainable(options.model)
    model = TrainableEntropy(codec.config, load(options.model).threshold)
    model.load_state_dict(codec.state_dict())
    learned = [value for value in model.parameters() if value.requires_grad]

    def objective(models: Models, batch: Batch, shared: object) -> tuple[Tensor, Figures]:
        (pixels,) = batch
        quality = random_qualities(pixels)
        bpp = models["model"](pixels, quality)
        return (bpp / rate_weight(quality).sqrt()).mean(), {"bpp": bpp.mean().item()}

    return Recipe(
        models={"model": model},
        optimisers={"model": [torch.optim.Adam([{"params": learned, "share": 1.0}], betas=(0.9, 0.98), fused=True)]},
        losses={"model": objective},
        batch=lambda step: (torch.from_numpy(crops.batch(step, options.batch)),),
        validate=(lambda average: validate(average, pictures)) if pictures else None,
        after_step=model.hyper_synthesis.keep_exact,
        notes={"config": asdict(model.config), "brought": brought_along(options, card)},
    )
