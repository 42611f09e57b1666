"""The search for better symbols: fewer bits for the same picture, without any change of the decoder.

The analysis serves all pictures alike; the search serves one. Rounding each latent by itself treats the synthesis as an
orthonormal transform. The gradient through the synthesis takes the real error of the picture into account: every latent
moves against it by a step that suits the curvature of its channel in this model (a proximal gradient step with a
diagonal metric, Beck and Teboulle, SIAM J. Imaging Sciences 2009), and becomes the nearby symbol of least distortion
plus bits. The idea of searching latents for each picture is that of Yang, Bamler, Mandt, "Improving Inference for
Neural Image Compression", NeurIPS 2020, whose annealing takes hundreds of steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from lapic.bitstream.entropy import SYMBOL_MAX
from lapic.codec.defaults import DEFAULT_TUNE
from lapic.codec.encode.appearance import Appearance, Parts
from lapic.codec.encode.draft import Draft, Region, regions
from lapic.codec.encode.rate import cost_of, error_weight, symbol_bits
from lapic.codec.exact.context import Coded, Pass, run_passes
from lapic.codec.exact.dispatch import arithmetic_on
from lapic.codec.exact.quantise import dequantise, residual_of, zero_outliers
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import features_of, shown_latents
from lapic.codec.model.qualities import part_of
from lapic.codec.nets import levels
from lapic.codec.picture.tiling import LATENT
from lapic.codec.threads import fit_threads

STEPS = (0, 1, 2, 3, 5, 8, 12, 20, 32, 50)  # by effort 0..9
STEP_SIZE = 0.8  # of the Newton step for a diagonal curvature
COUPLING = 0.32  # rise of a latent's curvature if all latents move at once, since they correct the same error
BACKTRACK = 0.7  # factor of the step size after a step that did not lower the cost
OVERSHOOT = 1.3  # the same after two failed steps, to leave a point from which no symbol changes
ERROR_CLIP = 4.0  # limit of errors, pictures being in -1..1: larger ones are of a failed step and overflow float16


def search(
    model: Model, draft: Draft, effort: int, progress: Callable[[int, int], None], tune: str = DEFAULT_TUNE
) -> None:
    """Improve the symbols of all tiles of a picture, in place, some tiles at a time.

    Args:
        effort: 0..9, see STEPS.
        progress: called with the tiles done and the tiles in all.
        tune: one of `codec.defaults.TUNES`, the error that the search lowers.

    Raises:
        ValueError: effort is out of range.
    """
    if not 0 <= effort < len(STEPS):
        raise ValueError(f"effort {effort} is outside 0..{len(STEPS) - 1}")
    steps, bits = STEPS[effort], symbol_bits(model.tables).to(draft.quality.device)
    done = 0
    for region in regions(model, draft):
        fit_threads()
        improve(model, region, bits, steps, tune)
        done += len(region.tiles)
        progress(done, len(draft.tiles))


def improve(model: Model, region: Region, bits: Tensor, steps: int, tune: str = DEFAULT_TUNE) -> None:
    """Find better symbols for a region's tiles, in place.

    Each place keeps the symbols of the step after which its pixels and bits, averaged with those of the places around
    it, cost least.

    Args:
        region: one, or B of the same shape that are improved together.
        bits: as `symbol_bits` gives them.
        steps: each takes one pass through the synthesis and back.
        tune: as for `search`.
    """
    objective = Objective.of(model, region, bits, tune)
    state = SearchState.of(region)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        state.latent.requires_grad_()
        with torch.enable_grad():
            picture = objective.synthesise(state.latent)
        error = objective.error(picture.detach())
        parts = objective.split(error)
        better = state.keep_cheaper(objective.cost(error, parts, state.coded))
        state.keep_gradient(better, objective.gradient(picture, state.latent, error, parts))
        state.keep_latent(better)
        moving = torch.rand(state.latent.shape, generator=generator, dtype=torch.float32) < move_rate(step)
        curvature = objective.curvature(move_rate(step))
        state.move(objective, state.target(curvature), moving.to(bits.device), curvature)
    with torch.no_grad():
        error = objective.error(objective.synthesise(state.latent))
        state.keep_latent(state.keep_cheaper(objective.cost(error, objective.split(error), state.coded)))
    nothing_moves = torch.zeros_like(state.latent, dtype=torch.bool)
    state.move(objective, state.best_latent, nothing_moves, objective.curvature(0.0))
    for (_, tile), coded in zip(region.tiles, state.coded, strict=True):
        tile.coded = coded


def move_rate(step: int) -> float:
    """The fraction of the latents that may move in a step: nearly all in the first, half in later ones, since latents
    share pixels and would each correct the whole of the same error."""
    return max(0.5, 0.95 - 0.1 * max(0, step - 1))


@dataclass(frozen=True)
class Objective:
    """The cost that a search lowers, in bits: those of symbols plus weighted errors of pixels, of B regions of one
    shape.

    Attributes:
        bits: (64, 256), see `symbol_bits`.
        quality: fixed-point, (B,) or of each place (B, h, w).
        picture: (B, 3, 16h, 16w) in -1..1, the original.
        gain: (B, M, 1, 1) or (B, M, h, w), quantisation steps per unit of a latent.
        weight: (B, 1, 1, 1) or (B, 1, h, w), bits that a unit of square error is worth.
        gradient_scale: (B, 1, 1, 1), a power of two near 2 `weight`. Gradients are computed without it, since float16
            could not hold them, and multiplied by it afterwards.
        measure: of errors; None for plain square errors.
        orthonormal_curvature: (B, M, 1, 1) or (B, M, h, w), second derivative of the cost by a latent in steps, as if
            the synthesis were orthonormal.
        single_curvature: (B, M, 1, 1) or (B, M, h, w), factor of that for this model if one latent moves alone.
        features: (B, W, h, w) of each tile, from the hyper-synthesis.
    """

    model: Model
    region: Region
    bits: Tensor
    quality: Tensor
    picture: Tensor
    gain: Tensor
    weight: Tensor
    gradient_scale: Tensor
    measure: Appearance | None
    orthonormal_curvature: Tensor
    single_curvature: Tensor
    features: list[Tensor]

    @classmethod
    def of(cls, model: Model, region: Region, bits: Tensor, tune: str) -> "Objective":
        """The objective for arguments as those of `improve`."""
        quality = region.quality
        picture = region.picture.contiguous()  # plane by plane, like the output of the synthesis
        gain = model.transforms.gain(quality)
        weight = levels.broadcast_rows(error_weight(quality)[:, None])
        measure = None
        curvature = 2 * weight / gain**2
        if tune == "eye":
            measure = Appearance.near(picture, _draft_of(model, region, picture, gain, quality))
            curvature = curvature * measure.curvature(model.transforms.synthesis)
        features = [
            features_of(model, tile.z, part_of(quality, inside), tile.coded.symbol.shape[-2:])
            for inside, tile in region.tiles
        ]
        scale = (2 * weight.amax((2, 3), keepdim=True)).log2().floor().exp2()
        single = model.curvature_at(quality)
        return cls(model, region, bits, quality, picture, gain, weight, scale, measure, curvature, single, features)

    def synthesise(self, latent: Tensor) -> Tensor:
        """The picture (B, 3, 16h, 16w) of latents (B, M, h, w) in steps, with a gradient that leaves out a stage at
        1/4: a step takes a tenth less time, and files cost 0.2 % more at most, since that stage depends little on any
        one latent."""
        return self.model.transforms.synthesis.picture(latent / self.gain, self.quality, follow=False)

    def error(self, picture: Tensor) -> Tensor:
        """The error of a picture, 0 in the padding."""
        height, width = self.region.size
        error = picture - self.picture
        error[..., height:, :], error[..., width:] = 0, 0
        return error

    def split(self, error: Tensor) -> Parts:
        """The parts of an error that the measure weighs, for `cost` and `gradient`; none of plain square errors."""
        return self.measure.split(error) if self.measure else []

    def cost(self, error: Tensor, parts: Parts, tiles: list[Coded]) -> Tensor:
        """The cost of the pixels and symbols of each place, averaged over its surroundings, (B, 1, h, w) in bits."""
        cost = _mean_around(self.weight * (self.measure.cost(error, parts) if self.measure else _square_error(error)))
        for (inside, _), coded in zip(self.region.tiles, tiles, strict=True):
            rate = cost_of(self.bits, coded.symbol, coded.index).sum(1, keepdim=True)
            cost[(..., *inside)] += _mean_around(rate)
        return cost

    def gradient(self, picture: Tensor, latent: Tensor, error: Tensor, parts: Parts) -> Tensor:
        """The gradient (B, M, h, w) of the errors' cost by the latents that `picture` was made from. Overwrites
        `error`."""
        clipped_error = (self.measure.slope(error, parts) if self.measure else error).clamp_(-ERROR_CLIP, ERROR_CLIP)
        clipped_error.mul_(levels.spread_to(2 * self.weight / self.gradient_scale, error.shape[2:]))
        (gradient,) = torch.autograd.grad(picture, latent, clipped_error)
        return gradient.nan_to_num(0, 0, 0) * self.gradient_scale

    def curvature(self, moving: float) -> Tensor:
        """The second derivative of the cost by a latent if a fraction `moving` of all moves at once."""
        return self.orthonormal_curvature * (self.single_curvature + COUPLING * moving)


@dataclass
class SearchState:
    """The latents that are tried, and the best that each place has had.

    Attributes:
        coded: means, indices and symbols of each tile that are tried.
        latent: (B, M, h, w), y^ in steps of those, and of the surroundings.
        best_latent: (B, M, h, w), y^ at the lowest cost so far.
        best_cost: (B, 1, h, w), that cost, in bits.
        gradient: (B, M, h, w), of the cost there.
        failed_steps: (B, 1, h, w), the steps since then.
    """

    coded: list[Coded]
    latent: Tensor
    best_latent: Tensor
    best_cost: Tensor
    gradient: Tensor
    failed_steps: Tensor

    @classmethod
    def of(cls, region: Region) -> "SearchState":
        """The state before the first step."""
        latent = region.latent.detach()
        unknown = torch.full_like(latent[:, :1], float("inf"))
        coded = [tile.coded for _, tile in region.tiles]
        return cls(coded, region.latent, latent, unknown, torch.zeros_like(latent), torch.zeros_like(unknown))

    def keep_cheaper(self, cost: Tensor) -> Tensor:
        """Update `best_cost` and `failed_steps` by the cost of `latent`. Returns where it is the lowest so far, truth
        values (B, 1, h, w)."""
        better = cost < self.best_cost
        self.best_cost = torch.where(better, cost, self.best_cost)
        self.failed_steps = torch.where(better, 0, self.failed_steps + 1)
        return better

    def keep_gradient(self, better: Tensor, gradient: Tensor) -> None:
        """Take over the gradient where the cost is the lowest so far."""
        self.gradient = torch.where(better, gradient, self.gradient)

    def keep_latent(self, better: Tensor) -> None:
        """Take over `latent` where the cost is the lowest so far."""
        self.best_latent = torch.where(better, self.latent.detach(), self.best_latent)

    def target(self, curvature: Tensor) -> Tensor:
        """Where a step against the gradient leads, (B, M, h, w); after failed steps a shorter and a longer step take
        turns."""
        factor = torch.full_like(self.failed_steps, OVERSHOOT)
        factor.masked_fill_(self.failed_steps % 2 == 1, BACKTRACK).masked_fill_(self.failed_steps == 0, 1.0)
        return self.best_latent - (factor * STEP_SIZE / curvature) * self.gradient

    def move(self, objective: Objective, target: Tensor, moving: Tensor, curvature: Tensor) -> None:
        """Choose symbols near `target` where latents are `moving`, near `best_latent` elsewhere: sets `coded` and
        `latent`."""
        model, self.latent = objective.model, self.best_latent.clone()
        target = torch.where(moving, target, self.best_latent)
        curvature = curvature.expand_as(target)
        self.coded = []
        for (inside, _), features in zip(objective.region.tiles, objective.features, strict=True):
            place = (..., *inside)
            tile_target = target[place].contiguous()  # plane by plane, like the context's tensors: half the time
            code_pass = partial(_choose, model, tile_target, moving[place], curvature[place], objective.bits)
            arithmetic = arithmetic_on(target.device)
            quality = part_of(objective.quality, inside)
            coded = run_passes(features, quality, model.integers, code_pass, arithmetic)
            self.coded.append(coded)
            self.latent[place] = shown_latents(model, coded)


@torch.no_grad()
def _draft_of(model: Model, region: Region, picture: Tensor, gain: Tensor, quality: Tensor) -> Tensor:
    """What a region's latents show, (B, 3, 16h, 16w), the original in the padding."""
    height, width = region.size
    draft = model.transforms.synthesis.picture(region.latent / gain, quality)
    draft[..., height:, :], draft[..., width:] = picture[..., height:, :], picture[..., width:]
    return draft


def _square_error(error: Tensor) -> Tensor:
    """The square error (B, 3, 16h, 16w) of the pixels of each latent, (B, 1, h, w)."""
    return F.avg_pool2d(error.square().sum(1, keepdim=True), LATENT, divisor_override=1)


def _mean_around(cost: Tensor) -> Tensor:
    """The mean of a map (B, 1, h, w) over the 3 x 3 places around each, since neighbours share pixels."""
    return F.avg_pool2d(cost, 3, stride=1, padding=1, count_include_pad=False)


def _choose(
    model: Model,
    target: Tensor,
    moving: Tensor,
    curvature: Tensor,
    bits: Tensor,
    part: Pass,
    mean: Tensor,
    index: Tensor,
) -> Tensor:
    """The symbols of one pass for the `target` y^, (B, M, h, w) in steps: the cheapest where a latent is `moving`;
    elsewhere the nearest, which is the same as before unless the context has moved the mean."""
    residual = residual_of(target, part, mean).clamp(-SYMBOL_MAX, SYMBOL_MAX)
    cheapest = cheapest_symbols(residual, curvature[:, part.channels], bits, index, model.centroid)
    return zero_outliers(torch.where(moving[:, part.channels], cheapest, residual.round()), index)


def cheapest_symbols(target: Tensor, curvature: Tensor, bits: Tensor, index: Tensor, centroid: Tensor) -> Tensor:
    """The symbols near `target` reconstructions, (B, M, h, w), of least distortion plus bits: of the two around it, the
    one nearer to zero, and zero itself."""
    low, nearer_zero = target.floor(), (target.abs() - 1).clamp(min=0).floor().copysign(target)
    best = best_cost = None
    for candidate in (low, low + 1, nearer_zero, torch.zeros_like(target)):
        distortion = curvature / 2 * (dequantise(candidate, index, centroid) - target).square()
        cost = distortion + cost_of(bits, candidate, index)
        best = candidate if best is None else torch.where(cost < best_cost, candidate, best)
        best_cost = cost if best_cost is None else torch.minimum(cost, best_cost)
    return best
