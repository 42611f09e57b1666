"""The recipe of the faithful decoder: the synthesis alone, from latents as files hold them.

While the codec is trained as a whole its synthesis sees latents that were rounded to the nearest integer. Those in
files are rounded by rate, changed by the search and reconstructed at centroids. Here the synthesis learns from them.
Encoder and entropy model do not change: the model keeps its id, and files that exist decode better too.
"""

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lapic.bitstream.entropy import PRECISION
from lapic.codec.defaults import DEFAULT_MODEL
from lapic.codec.encode.rate import cost_of, symbol_bits
from lapic.codec.exact import hyper
from lapic.codec.model.codec_weights import Model, load
from lapic.codec.nets import levels
from lapic.training.codec import RateDistortionOptions, rate_distortion_recipe, read_crops
from lapic.training.export import trainable
from lapic.training.latents import EFFORT, encode, random_effort
from lapic.training.loop import Recipe
from lapic.training.rate_distortion import Estimate
from lapic.training.run_files import check_identity, prior_training, resumed_options

REFRESH = 50  # steps after which the search uses the synthesis as trained so far


@dataclass(frozen=True)
class DecoderOptions(RateDistortionOptions):
    """A run for the synthesis."""

    model: str = DEFAULT_MODEL  # the codec, by name or weights file


class TrainableSynthesis(nn.Module):
    """A codec's synthesis behind its shipped encoder, whose search uses it."""

    def __init__(self, codec: str) -> None:
        super().__init__()
        self.net = trainable(codec)[0].transforms.synthesis
        self.codec = codec
        self.encoder: Model | None = None  # no module, so that it is not trained
        self.steps = 0

    def refresh(self, device: torch.device) -> Model:
        """The encoder, searching with the synthesis as it is now."""
        if self.encoder is None or self.encoder.device != device:
            loaded = load(self.codec, str(device))  # cached, so copied
            self.encoder = replace(loaded, transforms=copy.deepcopy(loaded.transforms))
        with torch.no_grad():
            for old, new in zip(self.encoder.transforms.synthesis.parameters(), self.net.parameters(), strict=True):
                old.copy_(new)
        return self.encoder

    def forward(self, pixels: Tensor, quality: Tensor) -> Estimate:
        """Args: pixels (B, 3, H, W) uint8, H and W multiples of 64; quality (B,) fixed-point.
        The encoder's effort is EFFORT, in training mode sometimes 0. The bits are those of the shipped tables."""
        effort = random_effort() if self.training else EFFORT
        stale = self.encoder is None or not self.training or self.steps % REFRESH == 0
        model = self.refresh(pixels.device) if stale else self.encoder
        self.steps += self.training
        with torch.autocast(pixels.device.type, enabled=False):
            rounded, latent = encode(model, pixels, quality, effort)
            latent = latent / model.transforms.gain(quality)
        linear, added = self.net.parts(latent, quality)
        bits = symbol_bits(model.tables).to(pixels.device)
        return Estimate(
            latent=latent,
            linear=linear,
            added=added,
            bits_y=cost_of(bits, rounded.coded.symbol, rounded.coded.index).flatten(1).sum(1),
            bits_z=_hyper_bits(model, rounded.z, quality),
        )


def _hyper_bits(model: Model, z: Tensor, quality: Tensor) -> Tensor:
    """Bits (B,) of hyper-latents (B, Z, h, w) at fixed-point qualities (B,) by the model's tables."""
    cost = PRECISION - torch.from_numpy(model.tables.hyper).to(z.device).double().log2()  # (L, Z, 127)
    symbols = (z + hyper.HYPER_LATENT_MAX).long().flatten(2)  # (B, Z, h w)
    return cost[levels.nearest_level(quality, len(cost))].gather(2, symbols).sum((1, 2)).float()


def recipe(options: DecoderOptions, part: tuple[int, int] = (0, 1)) -> Recipe:
    """The recipe for process `part` = (rank, count)."""
    codec = load(options.model)
    check_identity(resumed_options(options.out), options.model, codec.identity)
    crops = read_crops(options, part)
    prior = prior_training(options.out, codec.card)
    notes = {"kind": "synthesis", "prior_training": prior, "identity": codec.identity.hex()}
    return rate_distortion_recipe(options, crops, TrainableSynthesis(options.model), notes)
