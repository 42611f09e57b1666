"""The recipe of the adversarial decoder (codec.decode.realism): stage 2, behind a frozen codec.

The loss is that of Mentzer et al., "High-Fidelity Generative Image Compression" (HiFiC), NeurIPS 2020: distortion,
LPIPS and a discriminator that sees the decoded latents too, D(x, y). The weights of the latter two are multiplied by
the realism, drawn for each step, so that one network learns all degrees from faithful to realistic.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.decode import realism
from lapic.codec.defaults import DEFAULT_MODEL
from lapic.codec.model.codec_weights import Model, load
from lapic.codec.model.translator_weights import config_of, read
from lapic.codec.nets import levels
from lapic.codec.nets.translator import Translator, TranslatorConfig
from lapic.codec.picture.tensors import to_pixels
from lapic.codec.picture.tiling import LATENT
from lapic.training import paired
from lapic.training.data import Crops, list_pictures, read_rgb
from lapic.training.latents import EFFORT, encode, random_effort
from lapic.training.loop import Batch, Figures, Models, Recipe
from lapic.training.paired import Discriminators, PairedOptions
from lapic.training.qualities import of_model
from lapic.training.rate_distortion import normalise, random_qualities
from lapic.training.restoration import optimisers, root_mean_square, start
from lapic.training.run_files import checked_digests, resumed_options
from lapic.training.whitening import WhitenedTranslator

FULL_SHARE = 0.6  # of the steps train full realism, the others a random amount below
QUALITIES = (10, 30, 50)  # of the validation
EDGE = 256  # of the validation's pictures


@dataclass(frozen=True)
class RealismOptions(PairedOptions):
    """A run of stage 2."""

    patch_unit: ClassVar[int] = LATENT

    data: Path = Path("data")
    validation: Path | None = None
    model: str = DEFAULT_MODEL  # the codec, by name or weights file
    init: str | None = None  # weights of an earlier run to start from
    lpips: float = 1.0
    gan: bool = True
    gan_weight: float = 0.1
    gan_loss: str = "non-saturating"
    periodic_weight: float = 0.1
    distortion: float = 0.02  # weight of the root mean square error in grey levels
    highest: int = realism.LEARNED  # qualities from 1 to this are learned; above, decodes lack no texture


@torch.no_grad()
def decode_frozen(model: Model, pixels: Tensor, quality: Tensor, effort: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The input of the realistic decoder for pictures (B, 3, H, W) uint8, multiples of 16 in size, encoded at
    fixed-point qualities (B,) and an effort 0..9.

    Returns:
        The faithful picture (B, 3, H, W) in -1..1, the synthesis' features (B, C, H/8, W/8), of generation 2
        (B, C, H/16, W/16), and the latents y^ in quantisation steps (B, M, H/16, W/16).
    """
    nets = model.transforms
    _, latent = encode(model, pixels, quality, effort)
    picture, features = nets.synthesis.picture_and_features(latent / nets.gain(quality), quality)
    return picture, features, latent


class TrainableFinisher(nn.Module):
    """The translator behind a frozen codec. It takes integer pictures, because mixed precision would round floats."""

    def __init__(self, codec: str, config: TranslatorConfig | None = None) -> None:
        """Args: codec, a shipped name or a weights file; config of the network, the usual one if None."""
        super().__init__()
        self.codec_on = cache(partial(load, codec))  # by the device; once, for the file may be replaced
        self.net = WhitenedTranslator(config or realism.config_for(self.codec_on("cpu").config))

    def forward(
        self, pixels: Tensor, quality: Tensor, how_real: float, effort: int = EFFORT
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The realistic and the faithful picture, (B, 3, H, W) in about -1..1, and the latents of `decode_frozen`."""
        with torch.autocast(pixels.device.type, enabled=False):
            faithful, features, latent = decode_frozen(self.codec_on(str(pixels.device)), pixels, quality, effort)
        return realism.finish(self.net, faithful, features, quality, how_real), faithful, latent


@torch.no_grad()
def validate(
    model: TrainableFinisher, pictures: list[Tensor], lpips: nn.Module, out: Path, qualities: Sequence[int] = QUALITIES
) -> Figures:
    """LPIPS and PSNR of the faithful and the realistic decode at `qualities`, means over pictures (3, H, W) uint8, and
    as `score` the ratio of their LPIPS. Writes validation.png: original, faithful and realistic, a row for each."""
    device = next(model.parameters()).device
    figures: Figures = {}
    rows = []
    for quality in qualities:
        fixed = levels.fixed_point(quality, device)
        found = []
        for number, picture in enumerate(pictures):
            realistic, faithful, _ = model(picture[None].to(device), fixed, 1.0)
            real = normalise(picture[None].to(device))
            both = [shown.clamp(-1, 1) for shown in (faithful, realistic)]
            distance = [lpips(shown, real).item() for shown in both]
            found.append([*distance, *(10 * torch.log10(4 / (shown - real).square().mean()).item() for shown in both)])
            if number < 2:
                rows.append(torch.cat([real, *both], dim=3)[0])
        columns = np.mean(found, axis=0).tolist()
        names = ("lpips0", "lpips1", "psnr0", "psnr1")
        figures |= {f"{name}@{quality}": value for name, value in zip(names, columns, strict=True)}
    widest = max(row.shape[2] for row in rows)
    rows = [F.pad(row, (0, widest - row.shape[2]), value=-1) for row in rows]
    sheet = to_pixels(torch.cat(rows, dim=1), channels=3).cpu().numpy()
    Image.fromarray(sheet).save(out / "validation.png")
    left = [figures[f"lpips1@{quality}"] / figures[f"lpips0@{quality}"] for quality in qualities]
    return {"score": sum(left) / len(left)} | figures


def _middle(pixels: NDArray[np.uint8]) -> Tensor:
    """The middle of a picture (H, W, 3), at most EDGE x EDGE pixels, as (3, h, w)."""
    size = [min(EDGE, edge // 64 * 64) for edge in pixels.shape[:2]]
    if min(size) == 0:
        raise ValueError("edges of held-out pictures are of 64 pixels or more")
    top, left = ((whole - part) // 2 for whole, part in zip(pixels.shape[:2], size, strict=True))
    return torch.from_numpy(pixels[top : top + size[0], left : left + size[1]].transpose(2, 0, 1).copy())


def _config(options: RealismOptions, codec: Model) -> TranslatorConfig:
    """The network of a run: its own if it is resumed, with the widths and blocks of `options.init` if there is one,
    or else the usual one behind the codec."""
    if described := resumed_options(options.out):
        return config_of(described["config"])
    net = read(options.init)[0] if options.init else None
    return realism.config_for(codec.config, like=net.config if isinstance(net, Translator) else None)


def recipe(options: RealismOptions, part: tuple[int, int] = (0, 1)) -> Recipe:
    """The recipe for process `part` = (rank, count). Raises ValueError if it would validate by no measure, or if
    the codec is for no quality at which realism is learned."""
    if options.validation and not options.lpips:
        raise ValueError("--validation measures by LPIPS: give --lpips a weight above 0")
    codec = load(options.model)
    lowest, highest = of_model(options.model)
    highest = min(highest, options.highest)
    if lowest > highest:
        raise ValueError(f"realism is learned up to quality {options.highest}: {codec.name} is for higher ones")
    qualities = sorted({min(max(quality, lowest), highest) for quality in QUALITIES})
    starts = checked_digests(options.out, model=options.model)
    crops = Crops(options.data, options.patch, options.seed, part=part)
    print(f"{len(crops.pictures)} pictures, {crops.megapixels:.0f} megapixels")
    paths = list_pictures(options.validation) if options.validation else []
    held_out = [_middle(read_rgb(path)) for path in paths]
    model = TrainableFinisher(options.model, _config(options, codec))
    prior = start(model, options, crops, f"a realistic decoder for the model {codec.name}")
    models: Models = {"model": model}
    if options.gan:
        models["discriminator"] = Discriminators(channels=3, latents=codec.config.latent)
    lpips = paired.perceptual(options)

    def generator(models: Models, batch: Batch, shared: dict[str, Any]) -> tuple[Tensor, Figures]:
        (pixels,) = batch
        quality = random_qualities(pixels, lowest, highest)
        chance, partial = torch.rand(2).tolist()
        how_real = 1.0 if chance < FULL_SHARE else partial
        realistic, _, latent = models["model"](pixels, quality, how_real, random_effort())
        pictures = {"fake": realistic, "real": normalise(pixels), "condition": latent}
        distance = root_mean_square(realistic, pictures["real"])
        more, figures = paired.generator(options, lpips, models, pictures, shared)
        return options.distortion * distance + how_real * more, {"rmse": distance.item()} | figures

    def validation(average: nn.Module) -> Figures:
        return validate(average, held_out, lpips, options.out, qualities)

    return Recipe(
        models=models,
        optimisers=paired.optimisers(models, optimisers(model.net)),
        losses=paired.losses(options, generator),
        batch=lambda step: (torch.from_numpy(crops.batch(step, options.batch)),),
        validate=validation if held_out else None,
        notes={
            "kind": "translator",
            "config": asdict(model.net.config),
            "prior_training": prior,
            "card": {"model": codec.identity.hex()},
            **starts,
        },
    )
