"""The recipe of the faithful decoder: the synthesis alone, from files as they are really made.

While the codec is trained as a whole its synthesis sees latents that were simply rounded. Files hold others: rounded
with regard to their bits, searched for, reconstructed at centroids. Here the synthesis learns from those, with encoder
and entropy model as they shipped: the model keeps its id, and files made before decode better too.
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from bitstream.entropy import PRECISION
from codec import DEFAULT_MODEL, hyper
from codec.model import Model, load
from codec.pyramid import partial_collapses, shuffle
from codec.search import cost_of, symbol_bits
from training.codec import optimisers, validate
from training.data import Crops, held_out
from training.export import trainable
from training.latents import EFFORT, encode, random_effort
from training.loop import Batch, Figures, Models, Recipe, brought_along
from training.rate_distortion import Estimate, QualityOptions, check_qualities, loss, random_qualities

REFRESH = 50  # steps after which the search knows what the synthesis has learned


@dataclass(frozen=True)
class DecoderOptions(QualityOptions):
    """A run for the synthesis."""

    data: Path = Path("data")
    validation: Path | None = None
    model: str = DEFAULT_MODEL  # the codec, by name or weights file
    batch: int = 4
    patch: int = 192


class TrainableSynthesis(nn.Module):
    """A codec's synthesis behind the encoder that its users have, which searches with it."""

    def __init__(self, codec: str) -> None:
        super().__init__()
        self.net = trainable(codec)[0].transforms.synthesis
        self.codec = codec
        self.encoder: Model | None = None  # no module, and so no part of what is trained
        self.steps = 0

    def refresh(self, device: torch.device) -> Model:
        """The encoder, searching with the synthesis as it is now."""
        if self.encoder is None or self.encoder.device != device:
            loaded = load(self.codec, str(device))  # others use it too
            self.encoder = replace(loaded, transforms=copy.deepcopy(loaded.transforms))
        with torch.no_grad():
            for old, new in zip(self.encoder.transforms.synthesis.parameters(), self.net.parameters(), strict=True):
                old.copy_(new)
        return self.encoder

    def forward(self, pixels: Tensor, quality: Tensor, effort: int = EFFORT) -> Estimate:
        """Args: pixels (B, 3, H, W) uint8, H and W multiples of 64; quality (B,) fixed-point; effort 0..9.
        The bits are those of the shipped tables."""
        stale = self.encoder is None or not self.training or self.steps % REFRESH == 0
        model = self.refresh(pixels.device) if stale else self.encoder
        self.steps += self.training
        with torch.autocast(pixels.device.type, enabled=False):
            rounded, latent = encode(model, pixels, quality, effort)
            latent = latent / model.transforms.gain(quality)
        base, pyramid = self.net(latent, quality)
        bits = symbol_bits(model.tables).to(pixels.device)
        return Estimate(
            linear=shuffle(base, 8),
            added=partial_collapses(pyramid),
            bits_y=cost_of(bits, rounded.coded.symbol, rounded.coded.index).flatten(1).sum(1),
            bits_z=_hyper_bits(model, rounded.z, quality),
        )


def _hyper_bits(model: Model, z: Tensor, quality: Tensor) -> Tensor:
    """Bits (B,) of hyper-latents (B, Z, h, w) at fixed-point qualities (B,) by the model's tables."""
    cost = PRECISION - torch.from_numpy(model.tables.hyper).to(z.device).double().log2()  # (L, Z, 127)
    symbols = (z + hyper.HYPER_LATENT_MAX).long().flatten(2)  # (B, Z, h w)
    return cost[hyper.nearest_level(quality, len(cost))].gather(2, symbols).sum((1, 2)).float()


def recipe(options: DecoderOptions, part: tuple[int, int] = (0, 1)) -> Recipe:
    """The recipe for process `part` = (rank, count)."""
    check_qualities(options.lowest, options.highest)
    crops = Crops(options.data, options.patch, options.seed, part=part)
    print(f"{len(crops.pictures)} pictures, {crops.megapixels:.0f} megapixels")
    pictures = held_out(options.validation)
    model = TrainableSynthesis(options.model)

    def objective(models: Models, batch: Batch, shared: object) -> tuple[Tensor, Figures]:
        (pixels,) = batch
        quality = random_qualities(pixels, options.lowest, options.highest)
        total, bpp, mse = loss(models["model"](pixels, quality, random_effort()), pixels, quality)
        return total, {"bpp": bpp.mean().item(), "mse": mse.mean().item()}

    return Recipe(
        models={"model": model},
        optimisers={"model": optimisers(model)},
        losses={"model": objective},
        batch=lambda step: (torch.from_numpy(crops.hard_batch(step, options.batch)),),
        validate=(lambda average: validate(average, pictures, options.lowest, options.highest)) if pictures else None,
        notes={"kind": "synthesis", "brought": brought_along(options, load(options.model).card)},
    )
