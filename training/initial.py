"""The initial weights: linear paths from the principal components of photos, gains from the rate-distortion slope, and
networks whose inputs are whitened. Without the whitening the smooth part of a photo dominates their inputs, and they
learn nothing in the first hours."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.encode.rate import LAMBDA_RANGE
from lapic.codec.nets import second
from lapic.codec.nets.network import Block, Transforms
from lapic.training.rate_distortion import TrainableCodec

FLOOR = 1 / 127.5  # standard deviations below one grey level are not amplified further


def _components(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Principal components of (N, C) samples, as columns (C, C), and their standard deviations (C,), descending."""
    samples = samples.double()
    energy, vectors = torch.linalg.eigh(samples.T @ samples / len(samples))  # ascending
    return vectors.flip(1).float(), energy.flip(0).clamp(min=0).sqrt().float()


def _channels_last(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B h w, C)."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _keep_scale(nets: nn.Module) -> None:
    """Initialise so that features keep about unit scale from the first block to the last, in place."""
    for module in nets.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
            if module.groups == 1:
                nn.init.normal_(module.weight, 0, module.in_channels**-0.5)
            else:
                nn.init.normal_(module.weight, 0, 0.2)
                module.weight[:, :, 1, 1] += 1
    for module in nets.modules():
        if isinstance(module, Block):
            module.join.weight *= 0.5
        if isinstance(module, Block | second.Block | second.Pair):
            module.narrow.weight *= 0.5


@torch.no_grad()
def whiten_quarter(nets: Transforms, crops: Tensor) -> None:
    """Whiten the inputs of the stage at 1/4, cells of 4x4 pixels, in place. The caller sets its last layers.

    Args:
        crops: (B, 3, P, P) in -1..1, P a multiple of 4.
    """
    basis, deviation = _components(_channels_last(F.pixel_unshuffle(crops, 4)))
    whiten = (basis / deviation.clamp(min=4 * FLOOR)).T  # (48, 48), unit variance out
    for part in (nets.analysis.quarter, nets.synthesis.quarter):
        _keep_scale(part)
    for layer in (nets.analysis.quarter.enter, nets.synthesis.quarter.see):
        more = torch.randn(max(0, layer.out_channels - 48), 48) / 48**0.5 @ whiten
        layer.weight.copy_(torch.cat([whiten, more])[: layer.out_channels, :, None, None])


@torch.no_grad()
def grow(model: TrainableCodec, quarter: int, low: int, crops: Tensor) -> TrainableCodec:
    """A model with the same output as `model` and with two new parts whose last layers are zero.

    Args:
        quarter: width of a stage at 1/4 if the model has none, 0 for none.
        low: channels that are coded first, as context, if the model has none, 0 for none.
        crops: as for `whiten_quarter`.
    """
    config = model.config
    grown = TrainableCodec(replace(config, quarter=config.quarter or quarter, context=config.context or low))
    _take_weights(grown, model)
    if quarter and not config.quarter:
        whiten_quarter(grown.transforms, crops)
        for last in (grown.transforms.analysis.quarter.down, grown.transforms.synthesis.quarter.leave):
            nn.init.zeros_(last.weight)
    return grown


@torch.no_grad()
def deepen(model: TrainableCodec, coarse: int, fine: int) -> TrainableCodec:
    """A model with the same output as `model` and with new blocks in its analysis whose last layers are zero.

    Args:
        coarse: blocks at 1/16 beyond the synthesis', if the model's analysis has none. fine: likewise at 1/8.

    Raises:
        ValueError: the model is of generation 2, which has no more blocks, and some are wanted.
    """
    config = model.config
    if config.generation != 1 and (coarse or fine):
        raise ValueError("networks of generation 2 get no more blocks: leave out --more-coarse and --more-fine")
    config = replace(config, more_coarse=config.more_coarse or coarse, more_fine=config.more_fine or fine)
    grown = TrainableCodec(config)
    _keep_scale(grown.transforms.analysis)
    for module in grown.transforms.analysis.modules():
        if isinstance(module, Block):
            for last in (module.join, module.narrow):
                nn.init.zeros_(last.weight)
    _take_weights(grown, model)
    return grown


def _take_weights(grown: TrainableCodec, model: TrainableCodec) -> None:
    """Load the weights of a model into one with more parts. Raises ValueError if it has no place for some of them."""
    dropped = grown.load_state_dict(model.state_dict(), strict=False).unexpected_keys
    if dropped:
        raise ValueError(f"a grown model has no place for {len(dropped)} weights, such as {dropped[0]}")


def _start_first(nets: Transforms, crops: Tensor) -> tuple[float, Tensor]:
    """Set the linear paths and the first and last layers of networks of the first generation. Returns the fraction of
    the energy that is kept, and the standard deviations (M,) of the latents."""
    eighths = F.pixel_unshuffle(crops, 8)  # (B, 192, P/8, P/8)
    kept, deviation = _set_linear_paths(nets, _channels_last(F.pixel_unshuffle(eighths, 2)))
    small_basis, small_deviation = _components(_channels_last(eighths))
    whiten = (small_basis / small_deviation.clamp(min=4 * FLOOR)).T  # (192, 192), unit variance out
    for layer in (nets.analysis.enter, nets.synthesis.see):
        layer.weight.copy_(whiten[: layer.out_channels, :, None, None])
    lasts = [nets.analysis.leave, nets.synthesis.leave]
    if nets.config.quarter:
        whiten_quarter(nets, crops)
        lasts += [nets.analysis.quarter.down, nets.synthesis.quarter.leave]
    for last in lasts:
        nn.init.zeros_(last.weight)
    return kept, deviation


def _start_second(nets: Transforms, crops: Tensor) -> tuple[float, Tensor]:
    """As `_start_first`, for networks of the second generation."""
    cells = second.gather(crops.permute(0, 2, 3, 1), second.CELL)  # (B, P/4, P/4, 48)
    kept, deviation = _set_linear_paths(nets, second.gather(cells, second.CELL).flatten(0, 2))
    for layer, samples in ((nets.analysis.enter, second.gather(cells, 2)), (nets.synthesis.see, cells)):
        basis, spread = _components(samples.flatten(0, 2))
        layer.weight.copy_((basis / spread.clamp(min=4 * FLOOR)).T[: layer.out_channels, :, None, None])
    for last in (nets.analysis.leave, nets.synthesis.condition, nets.synthesis.leave):
        nn.init.zeros_(last.weight)
    return kept, deviation


def _set_linear_paths(nets: Transforms, blocks: Tensor) -> tuple[float, Tensor]:
    """Set the linear paths to the principal components of blocks (N, 768), and what the synthesis' body sees of their
    latents to unit variance. Returns as `_start_first`."""
    basis, deviation = _components(blocks)
    kept = deviation[: nets.config.latent].square().sum() / deviation.square().sum()
    basis, deviation = basis[:, : nets.config.latent], deviation[: nets.config.latent]  # (768, M), (M,)
    nets.analysis.linear.weight.copy_(basis.T[:, :, None, None])
    nets.synthesis.linear.weight.copy_(basis[:, :, None, None])
    nets.synthesis.enter.weight /= deviation.clamp(min=8 * FLOOR)[:, None, None]
    return float(kept), deviation


@torch.no_grad()
def start_networks(nets: Transforms, crops: Tensor) -> tuple[float, Tensor]:
    """Set networks to the KLT of 16x16 blocks, in place: what they add to it is zero, and what they see is whitened.

    Args and the fraction that is returned: as for `initialise`. The standard deviations (M,) of the latents follow.
    """
    _keep_scale(nets)
    return _start_first(nets, crops) if nets.config.generation == 1 else _start_second(nets, crops)


@torch.no_grad()
def initialise(model: TrainableCodec, crops: Tensor) -> float:
    """Set the linear paths to the KLT of 16x16 blocks and gains and scales to match, in place.

    The networks' last layers are zero, so the result is a working transform codec: x^ = KLT^T round(KLT x).

    Args:
        crops: (B, 3, P, P) in -1..1, P a multiple of 16; a few thousand blocks suffice.

    Returns:
        The fraction, 0..1, of the blocks' energy that the latent channels keep.
    """
    nets = model.transforms
    kept, deviation = start_networks(nets, crops)
    low, high = LAMBDA_RANGE
    weight = torch.logspace(0, 1, nets.config.levels, base=high / low) * low
    # At high rate a uniform step D costs D^2/12 and the slope of the entropy makes D = sqrt(12 / lambda) about right.
    step = (12 / weight).sqrt() / 127.5
    nets.log_gain.copy_(-step.log()[:, None].expand_as(nets.log_gain))
    model.hyper_synthesis.set_scales(0.5 * deviation / step[:, None])  # most of a photo has less energy than its mean
    return kept
