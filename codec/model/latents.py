"""The exact networks of a model applied to a tile: features, passes and y^."""

from collections.abc import Sequence

from torch import Tensor

from lapic.codec.exact import hyper
from lapic.codec.exact.context import Coded, CodePass, run_passes
from lapic.codec.exact.dispatch import arithmetic_on
from lapic.codec.exact.quantise import dequantise
from lapic.codec.model.codec_weights import Model


def features_of(model: Model, z: Tensor, quality: Tensor, size: Sequence[int]) -> Tensor:
    """The features of a tile's hyper-latent, (B, W, h, w).

    Args:
        z: (B, Z, h4, w4). quality: fixed-point, (B,) or of each place (B, h, w). size: h and w of the tile in latents.
    """
    features = hyper.hyper_synthesis(z, quality, model.integers, arithmetic_on(z.device))
    return features[..., : size[0], : size[1]]


def code_latents(model: Model, z: Tensor, quality: Tensor, size: Sequence[int], code_pass: CodePass) -> Coded:
    """A tile's passes from its hyper-latent, for arguments as those of `features_of` and `run_passes`."""
    features = features_of(model, z, quality, size)
    return run_passes(features, quality, model.integers, code_pass, arithmetic_on(z.device))


def shown_latents(model: Model, coded: Coded) -> Tensor:
    """y^ in steps, (B, M, h, w)."""
    return coded.mean / hyper.MEAN_ONE + dequantise(coded.symbol, coded.index, model.centroid)
