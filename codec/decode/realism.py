"""Realism: a decoded picture with plausible texture that the file does not hold.

The synthesis is trained for the least square error, and so blurs details that the bits leave open. A pyramid translator
(codec.nets.translator) behind it that was trained adversarially, as the generator of Mentzer et al., "High-Fidelity
Generative Image Compression", NeurIPS 2020, adds detail that looks natural. Its inputs are the faithful picture, the
synthesis' features, the quality and a degree of realism: 0 is the faithful picture, 1 the realistic one, and the
receiver chooses (Agustsson et al., "Multi-Realism Image Compression with a Conditional Generator",
CVPR 2023).
"""

import torch
from torch import Tensor

from lapic.bitstream import Error
from lapic.codec.model import translator_weights
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.shipped import SUFFIX, WEIGHTS, model_folders
from lapic.codec.nets import levels as levels_module
from lapic.codec.nets.config import Config
from lapic.codec.nets.translator import Translator, TranslatorConfig, halo
from lapic.codec.picture.tiling import LATENT

REALISM = WEIGHTS / "realism"
LEARNED = 80  # the highest quality that is trained; from there to 100 realism fades out, since little is left to add
FORMS = {1: ((64, 128), (2, 2)), 2: ((48, 96), (1, 2))}  # widths and blocks, by the generation of the model


def config_for(model: Config, like: TranslatorConfig | None = None) -> TranslatorConfig:
    """The network's shape behind a model, with the widths and blocks of `like`, or else those that a new one gets: a
    row of modulations for each rate level, and another that grows with the realism; what it sees beside the picture
    are the synthesis' last features at 1/8, or the body's at 1/16."""
    rows = [f"{what}{level}" for what in ("quality", "realism") for level in range(model.levels)]
    beside, finer = (model.fine, 1) if model.generation == 1 else (model.coarse, 2)
    widths, blocks = (like.widths, like.blocks) if like else FORMS[model.generation]
    return TranslatorConfig(tuple(rows), widths, blocks, beside=beside, finer=finer)


def modulation(quality: Tensor, realism: float, levels: int) -> Tensor:
    """Weights (B, 2L) of the rows of `config_for` at fixed-point qualities (B,) and a realism 0..1."""
    quality = quality.clamp(max=LEARNED * levels_module.QUALITY_ONE)
    at = levels_module.interpolate_levels(torch.eye(levels, device=quality.device), quality).float()  # (B, L)
    return torch.cat([at, realism * at], dim=1)


def find(model: Model) -> Translator | None:
    """The network for a model: the one of its name that was trained for its id, in the package or in the folder realism
    of the folders of own models; None if there is none. Raises `Error` if a file is damaged."""
    for folder in (REALISM, *(own / "realism" for own in model_folders())):
        path = folder / f"{model.name}{SUFFIX}"
        if not path.is_file():
            continue
        loaded = translator_weights.load(str(path), str(model.device), model.dtype)
        if loaded.card.get("model") == model.identity.hex() and isinstance(loaded.net, Translator):
            return loaded.net
    return None


def load(model: Model) -> Translator:
    """As `find`. Raises `Error` also if there is none."""
    if net := find(model):
        return net
    raise Error(f"there is no realistic decoder for the model {model.name}: decode without --realism")


def reach(net: Translator) -> int:
    """How many latents away from a pixel the network can see."""
    return -(-halo(net.config) // LATENT)


def strength(quality: Tensor, realism: float) -> Tensor:
    """The effective realism (B, 1, 1, 1) for a realism 0..1 at fixed-point qualities (B,): it falls to 0 from quality
    80 to 100."""
    left = (100 - quality.float() / levels_module.QUALITY_ONE) / (100 - LEARNED)
    return realism * left.clamp(0, 1).reshape(-1, 1, 1, 1)


def finish(net: Translator, picture: Tensor, features: Tensor, quality: Tensor, realism: float) -> Tensor:
    """A more realistic picture, see `strength`.

    Args:
        picture: (B, 3, H, W) in -1..1, as the faithful decoder gives it.
        features: of the synthesis, (B, C, H/8, W/8), or (B, C, H/16, W/16) of generation 2.
        quality: (B,), fixed-point. realism: 0..1.
    """
    rows = modulation(quality, realism, len(net.config.tasks) // 2)
    return net(picture, rows, strength=strength(quality, realism), beside=features)
