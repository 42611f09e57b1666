"""The search for better symbols: fewer bits for the same picture, and no change for the decoder.

The analysis serves all pictures alike; this looks at one. Rounding each latent by itself takes the synthesis for an
orthonormal transform. Here its gradient says where the picture is really wrong: every latent moves against it by about
the step that is right for the curvature its channel has in this model (a proximal gradient step with a diagonal metric,
Beck and Teboulle, SIAM J. Imaging Sciences 2009), and becomes the symbol near there that costs least in distortion and
bits together. The idea of searching latents for each picture is that of Yang, Bamler, Mandt, "Improving Inference for
Neural Image Compression", NeurIPS 2020, whose annealing takes hundreds of steps.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from lapic.bitstream.entropy import SYMBOL_MAX
from lapic.codec.encode.draft import Draft, Region, regions
from lapic.codec.encode.rate import cost_of, error_weight, symbol_bits
from lapic.codec.encode.tuning import structural
from lapic.codec.exact import hyper
from lapic.codec.exact.context import Pass, code
from lapic.codec.exact.dispatch import arithmetic_on
from lapic.codec.exact.quantise import dequantise, spare
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import features_of, shown_latents
from lapic.codec.nets.network import Synthesis, assemble
from lapic.codec.picture.tiling import LATENT
from lapic.codec.threads import fit_threads

STEPS = (0, 1, 2, 3, 5, 8, 12, 20, 32, 50)  # by effort 0..9
STRIDE = 0.8  # of the step that would be right if the curvatures were all there is
TOGETHER = 0.32  # by how much the curvature of each latent rises if all move at once, for they correct the same error
SHORTER = 0.7  # of the stride where it led to no lower cost, for another try from where it set out
LONGER = 1.3  # of the stride after two steps in vain, to leave symbols that would all stay as they are
WRONG = 4.0  # errors beyond are of a step that led astray: their gradients would burst float16, next to it too


def share(step: int) -> float:
    """The share of the latents that may move in a step: most at first, later half, for all answer for the same pixels
    and would correct the same error together."""
    return max(0.5, 0.95 - 0.1 * max(0, step - 1))


def search(model: Model, draft: Draft, effort: int, progress: Callable[[int, int], None], tune: str = "psnr") -> None:
    """Improve the symbols of all tiles of a picture, in place, some tiles at a time.

    Args:
        effort: 0..9, see STEPS.
        progress: called with the tiles done and the tiles in all.
        tune: one of `codec.defaults.TUNES`, what errors count for.

    Raises:
        ValueError: effort is out of range.
    """
    if not 0 <= effort < len(STEPS):
        raise ValueError(f"effort {effort} is outside 0..{len(STEPS) - 1}")
    steps, bits = STEPS[effort], symbol_bits(model.tables).to(draft.quality.device)
    done = 0
    for region in regions(model, draft):
        fit_threads()
        improve(model, region, bits, draft.quality, steps, tune)
        done += len(region.tiles)
        progress(done, len(draft.tiles))


def improve(model: Model, region: Region, bits: Tensor, quality: Tensor, steps: int, tune: str = "psnr") -> None:
    """Find better symbols for a region's tiles, in place. Each place keeps those of the step after which its pixels and
    bits, and those of the places around it, cost least.

    Args:
        region: one, or B of the same shape that are improved together.
        bits: as `symbol_bits` gives them.
        quality: (B,), fixed-point.
        steps: each takes one pass through the synthesis and back.
        tune: as for `search`.
    """
    height, width = region.size
    picture = region.picture.contiguous()  # plane by plane, as the synthesis makes it
    gain = model.transforms.gain(quality)
    weight = error_weight(quality).reshape(-1, 1, 1, 1)
    scale = (2 * weight).log2().floor().exp2()  # out of the gradients, which float16 could not hold
    measure = structural(picture) if tune == "ssim" else None
    orthonormal = 2 * weight / gain**2  # curvature of the cost over a latent, in steps, if the synthesis were so
    if measure:
        orthonormal = orthonormal * measure.curvature(model.transforms.synthesis)
    alone = model.curvature_at(quality)  # of that, if one latent moves
    said = [features_of(model, tile.z, quality, tile.coded.symbol.shape[-2:]) for _, tile in region.tiles]
    arithmetic = arithmetic_on(gain.device)
    generator = torch.Generator().manual_seed(0)
    now = [tile.coded for _, tile in region.tiles]
    latent, best = region.latent, region.latent.detach()
    uphill = torch.zeros_like(best)
    least, vain = torch.full_like(best[:, :1], float("inf")), torch.zeros_like(best[:, :1])  # (B, 1, h, w)
    for step in range(steps + 1):
        latent.requires_grad_(step < steps)
        with torch.set_grad_enabled(step < steps):
            made = _shown(model.transforms.synthesis, latent / gain, quality)
        error = made.detach() - picture
        error[..., height:, :], error[..., width:] = 0, 0
        cost = _around(weight * (measure.cost(error) if measure else _square_error(error)))
        for (inside, _), coded in zip(region.tiles, now, strict=True):
            spent = cost_of(bits, coded.symbol, coded.index).sum(1, keepdim=True)
            cost[(..., *inside)] += _around(spent)  # (B, 1, h, w)
        better = cost < least
        least, vain = torch.where(better, cost, least), torch.where(better, 0, vain + 1)
        if step < steps:
            felt = (measure.slope(error) if measure else error).clamp_(-WRONG, WRONG)
            (slope,) = torch.autograd.grad(made, latent, felt.mul_(2 * weight / scale))
            uphill = torch.where(better, slope.nan_to_num(0, 0, 0) * scale, uphill)
        best = torch.where(better, latent.detach(), best)
        latent = best.clone()
        mobile = share(step) if step < steps else 0.0  # in the end each place only gets what served it best
        curvature = orthonormal * (alone + TOGETHER * mobile)
        moves = (torch.rand(latent.shape, generator=generator, dtype=torch.float32) < mobile).to(latent.device)
        reach = torch.full_like(vain, LONGER).masked_fill_(vain % 2 == 1, SHORTER).masked_fill_(vain == 0, 1.0)
        wanted = best - moves * (reach * STRIDE / curvature) * uphill
        now = []
        for (inside, _), features in zip(region.tiles, said, strict=True):
            here = (..., *inside)
            choose = partial(_choose, model, wanted[here], moves[here], curvature.expand_as(best)[here], bits)
            now.append(code(features, quality, model.integers, choose, arithmetic))
            latent[here] = shown_latents(model, now[-1])
    for (_, tile), coded in zip(region.tiles, now, strict=True):
        tile.coded = coded


def _shown(synthesis: Synthesis, latent: Tensor, quality: Tensor) -> Tensor:
    """The picture of a latent, with a gradient that leaves out the stage at 1/4. What that adds hangs little on any one
    latent: files cost 0.2 % more at most, and a step a tenth less time."""
    base, features = synthesis.features(latent, quality)
    return assemble(base, synthesis.bands(base, features, quality, follow=False))


def _square_error(error: Tensor) -> Tensor:
    """The square error (B, 3, 16h, 16w) of the pixels of each latent, (B, 1, h, w)."""
    return F.avg_pool2d(error.square().sum(1, keepdim=True), LATENT, divisor_override=1)


def _around(cost: Tensor) -> Tensor:
    """The mean of a map (B, 1, h, w) over the 3 x 3 places around each, for neighbours answer for the same pixels."""
    return F.avg_pool2d(cost, 3, stride=1, padding=1, count_include_pad=False)


def _choose(
    model: Model,
    wanted: Tensor,
    moves: Tensor,
    curvature: Tensor,
    bits: Tensor,
    part: Pass,
    mean: Tensor,
    index: Tensor,
) -> Tensor:
    """One pass' symbols for the `wanted` y^, (B, M, h, w) in steps: the cheapest where a latent `moves`; elsewhere the
    nearest, which is the one that was there unless the context has moved the mean."""
    wanted = wanted[:, part.channels].contiguous()  # in memory as all else is here: half the time
    residual = (wanted - mean / hyper.MEAN_ONE).clamp(-SYMBOL_MAX, SYMBOL_MAX)
    cheapest = _cheapest(residual, curvature[:, part.channels], bits, index, model.centroid)
    return spare(torch.where(moves[:, part.channels], cheapest, residual.round()), index)


def _cheapest(wanted: Tensor, curvature: Tensor, bits: Tensor, index: Tensor, centroid: Tensor) -> Tensor:
    """The symbols near `wanted` reconstructions, (B, M, h, w), that cost least in distortion and bits together: of the
    two around it, the one nearer to zero and zero itself."""
    low = wanted.floor()
    best = least = None
    for one in (low, low + 1, (wanted.abs() - 1).clamp(min=0).floor().copysign(wanted), torch.zeros_like(wanted)):
        cost = curvature / 2 * (dequantise(one, index, centroid) - wanted).square() + cost_of(bits, one, index)
        best = one if best is None else torch.where(cost < least, one, best)
        least = cost if least is None else torch.minimum(cost, least)
    return best
