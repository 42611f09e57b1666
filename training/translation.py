"""The recipes of translators: from pairs, from two folders without pairs, and into the style of one picture."""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.model.translator_weights import read
from lapic.codec.nets.lptn import LPTN
from lapic.codec.nets.translator import Translator, TranslatorConfig
from lapic.training import paired
from lapic.training.adversarial import accuracy, discriminator_loss, generator_loss
from lapic.training.data import Crops, read_pair, read_rgb
from lapic.training.loop import Batch, Figures, Models, Recipe
from lapic.training.paired import Discriminators, PairedOptions
from lapic.training.perceptual import Style
from lapic.training.rate_distortion import normalise
from lapic.training.restoration import optimisers
from lapic.training.run_files import prior_training, resumed_options
from lapic.training.whitening import WhitenedTranslator

TASK = "translate"
DISTORTION = 10.0  # weights of the losses beside the adversarial one, as in pix2pixHD, CycleGAN and LPTN
CYCLE = 10.0
RECONSTRUCTION = 10.0


@dataclass(frozen=True)
class TranslationOptions(PairedOptions):
    """A run: `pairs`, or `source` and `target` without pairs, or `source` and a `style`."""

    pairs: tuple[Path, Path] | None = None
    source: Path | None = None
    target: Path | None = None
    style: Path | None = None
    net: str = "translator"  # or lptn
    init: str | None = None  # a translator's name or weights file to start from
    cycle: bool = False  # without pairs: a second generator, for the way back
    clip: float = 10.0


class TrainableTranslators(nn.Module):
    """The generators: `net`, and with `both` `back` for the other direction."""

    def __init__(self, net: WhitenedTranslator | LPTN, both: bool = False) -> None:
        super().__init__()
        self.net = net
        self.back = _untrained(net) if both else None

    def forward(self, pixels: Tensor, back: bool = False) -> Tensor:
        """Pictures (B, 3, H, W), uint8 or floats in -1..1, translated: floats, about -1..1."""
        picture = pixels if pixels.is_floating_point() else normalise(pixels)
        net = self.back if back else self.net
        if isinstance(net, LPTN):
            return net(picture)
        return net(picture, torch.zeros(len(picture), dtype=torch.long, device=picture.device))


def _untrained(net: WhitenedTranslator | LPTN) -> WhitenedTranslator | LPTN:
    """An untrained network of the same kind, with the same whitening."""
    if isinstance(net, LPTN):
        return LPTN(**net.counts())
    untrained = WhitenedTranslator(net.config)
    untrained.gain.copy_(net.gain)
    return untrained


def _initial(options: TranslationOptions) -> tuple[Translator | LPTN | None, dict[str, str]]:
    """The translator to start from, if there is one, and its card. Raises ValueError if it is of another kind than the
    run's."""
    if not options.init:
        return None, {}
    plain, card = read(options.init)
    if options.net == "lptn" and not isinstance(plain, LPTN):
        raise ValueError(f"{options.init} is not an LPTN")
    if options.net != "lptn" and not isinstance(plain, Translator):
        raise ValueError(f"{options.init} is not a translator of lapic's own kind: see --net")
    if isinstance(plain, Translator) and plain.config.beside:
        raise ValueError(f"{options.init} is a realistic decoder, which reads more than a picture")
    return plain, card


def _start(options: TranslationOptions, sample: Tensor) -> tuple[WhitenedTranslator | LPTN, Figures]:
    """The network to train, and its prior training."""
    plain, card = _initial(options)
    prior = prior_training(options.out, card)
    if options.net == "lptn":
        return plain if isinstance(plain, LPTN) else LPTN(), prior
    assert not isinstance(plain, LPTN)
    config = replace(plain.config, tasks=(TASK,)) if plain else TranslatorConfig(tasks=(TASK,))
    net = WhitenedTranslator(config)
    net.fit(sample)
    if plain:
        first = Translator(config)  # of the initial weights' tasks, the first
        first.load_state_dict({k: v[:1] if k.endswith("table") else v for k, v in plain.state_dict().items()})
        net.unfold(first)
    return net, prior


def _optimisers(net: nn.Module) -> list[torch.optim.Optimizer]:
    """As the restorer's for our translator; Adam for LPTN, whose convolutions are no matrices."""
    if isinstance(net, LPTN):
        return [torch.optim.Adam([{"params": list(net.parameters()), "lr_scale": 1.0}], betas=(0.9, 0.99))]
    return optimisers(net)


def recipe(options: TranslationOptions, part: tuple[int, int] = (0, 1)) -> Recipe:
    """The recipe for process `part` = (rank, count). Raises ValueError if the folders do not make a run, if
    `options.init` cannot start it, or if the run that is resumed learns in another way."""
    names = ("pairs", "source", "target", "style")
    given = {name for name in names if getattr(options, name)}
    ways = ({"pairs"}, _paired), ({"source", "style"}, _styled), ({"source", "target"}, _unpaired)
    for needed, make in ways:
        if given == needed and (make is _unpaired or not options.cycle):
            before = resumed_options(options.out)
            if before and {name for name in names if before.get(name)} != given:
                raise ValueError(f"{options.out} holds another run, which learns in another way: name another --out")
            _initial(options)  # what is wrong with it is said before pictures are read
            return make(options, part)
    raise ValueError(
        "a translator learns from --pairs A B, from --from A --to B, with --cycle or not, or from --from A --style FILE"
    )


def _recipe(models: Models, losses: dict[str, Any], batch: Any, prior: Figures) -> Recipe:
    """A recipe of these models and losses."""
    net, back = models["model"].net, models["model"].back
    generators = _optimisers(net) + (_optimisers(back) if back is not None else [])
    config = net.counts() if isinstance(net, LPTN) else asdict(net.config)
    notes = {"kind": "lptn" if isinstance(net, LPTN) else "translator", "config": config, "prior_training": prior}
    optimisers = paired.optimisers(models, generators)
    return Recipe(models=models, optimisers=optimisers, losses=losses, batch=batch, notes=notes)


def _paired(options: TranslationOptions, part: tuple[int, int]) -> Recipe:
    """pix2pixHD's recipe: L1; with `lpips` LPIPS; with `gan` multi-scale PatchGANs and feature matching."""
    crops = Crops(options.pairs[0], options.patch, options.seed, part=part, read=partial(read_pair, options.pairs))
    net, prior = _start(options, normalise(torch.from_numpy(crops.batch(0, 64)[:, :3])))
    models: Models = {"model": TrainableTranslators(net)}
    lpips = paired.perceptual(options)
    if options.gan:
        models["discriminator"] = Discriminators(channels=6)

    def generator(models: Models, batch: Batch, shared: dict[str, Any]) -> tuple[Tensor, Figures]:
        source, target = batch[0][:, :3], normalise(batch[0][:, 3:])
        translated = models["model"](source)
        distance = F.l1_loss(translated, target)
        pictures = {"fake": translated, "real": target, "condition": normalise(source)}
        more, figures = paired.generator(options, lpips, models, pictures, shared)
        return DISTORTION * distance + more, {"l1": 127.5 * distance.item()} | figures

    losses = paired.losses(options, generator)
    return _recipe(models, losses, lambda step: (torch.from_numpy(crops.batch(step, options.batch)),), prior)


def _unpaired(options: TranslationOptions, part: tuple[int, int]) -> Recipe:
    """LPTN's recipe, an adversarial and a reconstruction loss (Liang et al., CVPR 2021, section 3.4), or with `cycle`
    CycleGAN's (Zhu et al., ICCV 2017), which is DualGAN's with another adversarial loss."""
    first = Crops(options.source, options.patch, options.seed, part=part)
    second = Crops(options.target, options.patch, options.seed + 1, part=part)
    net, prior = _start(options, normalise(torch.from_numpy(first.batch(0, 64))))
    models: Models = {
        "model": TrainableTranslators(net, both=options.cycle),
        "discriminator": Discriminators(3, both=options.cycle),
    }

    def generator(models: Models, batch: Batch, shared: dict[str, Any]) -> tuple[Tensor, Figures]:
        source, target = (normalise(pixels) for pixels in batch)
        translated = models["model"](batch[0])
        shared |= {"there": (target, translated.detach())}
        total = options.gan_weight * generator_loss(options.gan_loss, models["discriminator"](translated))
        if not options.cycle:
            kept = (translated - source).square().mean()
            return total + RECONSTRUCTION * kept, {"changed": 127.5 * kept.sqrt().item()}
        back = models["model"](batch[1], back=True)
        shared |= {"back": (source, back.detach())}
        back_loss = generator_loss(options.gan_loss, models["discriminator"](back, back=True))
        total = total + options.gan_weight * back_loss
        cycle = F.l1_loss(models["model"](translated, back=True), source) + F.l1_loss(models["model"](back), target)
        return total + CYCLE * cycle, {"cycle": 127.5 * cycle.item()}

    def discriminator(models: Models, batch: Batch, shared: dict[str, Any]) -> tuple[Tensor, Figures]:
        total, right = torch.zeros((), device=batch[0].device), []
        for way, pictures in shared.items():
            real, fake = (models["discriminator"](picture, back=way == "back") for picture in pictures)
            total = total + discriminator_loss(options.gan_loss, real, fake)
            right.append(accuracy(options.gan_loss, real, fake))
        return total, {"accuracy": sum(right) / len(right)}

    def batch(step: int) -> Batch:
        return tuple(torch.from_numpy(crops.batch(step, options.batch)) for crops in (first, second))

    return _recipe(models, {"model": generator, "discriminator": discriminator}, batch, prior)


def _styled(options: TranslationOptions, part: tuple[int, int]) -> Recipe:
    """Johnson's recipe: the content of the photo, the Gram matrices of one picture."""
    crops = Crops(options.source, options.patch, options.seed, part=part)
    net, prior = _start(options, normalise(torch.from_numpy(crops.batch(0, 64))))
    wanted = torch.from_numpy(np.array(read_rgb(options.style).transpose(2, 0, 1)))[None]
    loss = Style(normalise(wanted), backbone=options.backbone)

    def generator(models: Models, batch: Batch, shared: dict[str, Any]) -> tuple[Tensor, Figures]:
        translated = models["model"](batch[0])
        return loss.to(translated.device)(translated, normalise(batch[0])), {}

    return _recipe(
        {"model": TrainableTranslators(net)},
        {"model": generator},
        lambda step: (torch.from_numpy(crops.batch(step, options.batch)),),
        prior,
    )
