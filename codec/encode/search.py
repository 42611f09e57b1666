"""The search for better symbols: fewer bits for the same picture, without any change of the decoder.

The analysis serves all pictures alike; the search serves one. Rounding each latent by itself treats the synthesis as an
orthonormal transform. The gradient through the synthesis takes the real error of the picture into account: every latent
moves against it by a step that suits the curvature of its channel in this model (a proximal gradient step with a
diagonal metric, Beck and Teboulle, SIAM J. Imaging Sciences 2009), and becomes the nearby symbol of least distortion
plus bits. The idea of searching latents for each picture is that of Yang, Bamler, Mandt, "Improving Inference for
Neural Image Compression", NeurIPS 2020, whose annealing takes hundreds of steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from lapic.bitstream.entropy import SYMBOL_MAX
from lapic.codec.defaults import DEFAULT_TUNE
from lapic.codec.encode.draft import Draft, Region, TilePart, pieces_at_once
from lapic.codec.encode.filter_fit import Statistics, observe
from lapic.codec.encode.objective import Objective
from lapic.codec.encode.rate import cost_of, symbol_bits
from lapic.codec.exact.context import Coded, Pass, run_passes
from lapic.codec.exact.dispatch import arithmetic_on
from lapic.codec.exact.quantise import beyond, dequantise, residual_of, zero_outliers
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import features_of, shown_latents
from lapic.codec.model.qualities import part_of
from lapic.codec.nets import levels
from lapic.codec.picture.tiling import Rect
from lapic.codec.threads import fit_threads, in_threads, stop_if_asked

# Steps by effort 0..9 with models of each generation. Effort 1 of the second fits the picture's filter alone.
STEPS = {1: (0, 1, 2, 3, 5, 8, 12, 20, 32, 50), 2: (0, 0, 1, 2, 3, 5, 8, 12, 20, 32)}
STEP_SIZE = 0.8  # of the Newton step for a diagonal curvature
BACKTRACK = 0.7  # factor of the step size after a step that did not lower the cost
OVERSHOOT = 1.3  # the same after two failed steps, to leave a point from which no symbol changes


def search(
    model: Model, draft: Draft, effort: int, progress: Callable[[int, int], None], tune: str = DEFAULT_TUNE
) -> Statistics:
    """Improve the symbols of all tiles of a picture, in place.

    Its pieces are improved at the same time, each beside what the others were before. So the symbols do not depend on
    the number of threads.

    Args:
        effort: 0..9, see STEPS.
        progress: called with the pieces done and the pieces in all.
        tune: one of `codec.defaults.TUNES`, the error that the search lowers.

    Returns:
        What the fit of a filter needs to know of the errors that are left.

    Raises:
        ValueError: effort is out of range.
    """
    steps, bits = steps_of(model, effort), symbol_bits(model.tables).to(draft.quality.device)
    rects, pieces = list(draft.tiles), draft.pieces()
    found = {rect: torch.empty_like(tile.coded.mean) for rect, tile in draft.tiles.items()}
    most = pieces_at_once(draft.quality.device)
    fit_threads()
    features = dict(zip(rects, in_threads(partial(_features, model, draft), rects, most, spread=True), strict=True))

    def improve_piece(piece: Rect) -> Statistics:
        region = draft.region(model, piece)
        latent, picture = improve(model, region, features, bits, steps, tune)
        for part in region.parts:
            found[part.rect][(..., *part.improved(part.window))] = latent[(..., *part.improved(part.place))]
        return observe(region, picture, draft)

    def settle_tile(rect: Rect) -> None:
        draft.tiles[rect].coded = settle(model, features[rect], draft.quality_at(rect), found[rect])

    seen = in_threads(improve_piece, pieces, most, done=lambda count: progress(count, len(pieces)))
    if steps:
        in_threads(settle_tile, rects, most, spread=True)
    return reduce(Statistics.__add__, seen)


def steps_of(model: Model, effort: int) -> int:
    """The steps of the search for an effort. Raises ValueError: it is outside 0..9."""
    steps = STEPS[model.config.generation]
    if not 0 <= effort < len(steps):
        raise ValueError(f"effort {effort} is outside 0..{len(steps) - 1}")
    return steps[effort]


def improve(
    model: Model,
    region: Region,
    features: Mapping[Rect, Tensor],
    bits: Tensor,
    steps: int,
    tune: str = DEFAULT_TUNE,
) -> tuple[Tensor, Tensor]:
    """Find better latents for a region's piece: y^ in steps, (B, M, h, w), which `settle` makes symbols of; and about
    the picture of them, (B, 3, 16h, 16w).

    Each place keeps the symbols of the step after which its pixels and bits, averaged with those of the places around
    it, cost least.

    Args:
        region: one, or B of the same shape that are improved together.
        features: (B, W, h, w) of each tile, from the hyper-synthesis.
        bits: as `symbol_bits` gives them.
        steps: each takes one pass through the synthesis and back.
        tune: as for `search`.
    """
    objective, state = Objective.of(model, region, features, bits), SearchState.of(region)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        stop_if_asked()
        state.latent.requires_grad_()
        with torch.enable_grad():
            picture = objective.synthesise(state.latent)
        shown, burst = objective.without_bursts(picture.detach())
        if step == 0 and tune == "eye":
            objective = objective.near(shown)
        error = objective.error(shown)
        parts = objective.split(error)
        better = state.keep_cheaper(objective.cost(error, parts, state.coded) + burst)
        state.keep_gradient(better, objective.gradient(picture, state.latent, error, parts))
        state.keep_latent(better, shown)
        moving = torch.rand(state.latent.shape, generator=generator, dtype=torch.float32) < move_rate(step)
        curvature = objective.curvature(move_rate(step))
        state.move(objective, state.target(curvature), moving.to(bits.device), curvature)
    with torch.no_grad():
        shown, burst = objective.without_bursts(objective.synthesise(state.latent))
        error = objective.error(shown)
        better = state.keep_cheaper(objective.cost(error, objective.split(error), state.coded) + burst)
        state.keep_latent(better, shown)
    return state.best_latent, state.best_picture


def settle(model: Model, features: Tensor, quality: Tensor, latent: Tensor) -> Coded:
    """The symbols of a tile nearest to y^ in steps, (B, M, h, w).

    Args:
        features: (B, W, h, w), of the hyper-synthesis. quality: fixed-point, (B,) or of each place (B, h, w).
    """

    def code_pass(part: Pass, mean: Tensor, index: Tensor) -> Tensor:
        return zero_outliers(residual_of(latent, part, mean).clamp(-SYMBOL_MAX, SYMBOL_MAX).round(), index)

    return run_passes(features, quality, model.integers, code_pass, arithmetic_on(latent.device))


def _features(model: Model, draft: Draft, rect: Rect) -> Tensor:
    """The features of a tile, (1, W, h, w)."""
    return features_of(model, draft.tiles[rect].z, draft.quality_at(rect), (rect.height, rect.width))


def move_rate(step: int) -> float:
    """The fraction of the latents that may move in a step: nearly all in the first, half in later ones, since latents
    share pixels and would each correct the whole of the same error."""
    return max(0.5, 0.95 - 0.1 * max(0, step - 1))


@dataclass
class SearchState:
    """The latents that are tried, and the best that each place has had.

    Attributes:
        coded: means, indices and symbols that are tried, of the latents of each tile that are improved.
        latent: (B, M, h, w), y^ in steps of those, and of the surroundings.
        best_latent: (B, M, h, w), y^ at the lowest cost so far.
        best_picture: (B, 3, 16h, 16w), each place as the latents showed it that had that cost.
        best_cost: (B, 1, h, w), that cost, in bits.
        gradient: (B, M, h, w), of the cost there.
        failed_steps: (B, 1, h, w), the steps since then.
    """

    coded: list[Coded]
    latent: Tensor
    best_latent: Tensor
    best_picture: Tensor
    best_cost: Tensor
    gradient: Tensor
    failed_steps: Tensor

    @classmethod
    def of(cls, region: Region) -> "SearchState":
        """The state before the first step."""
        latent = region.latent.detach()
        unknown = torch.full_like(latent[:, :1], float("inf"))
        coded = [part.tile.coded.part(part.window).part(part.inner) for part in region.parts]
        grey, flat, never = (torch.zeros_like(one) for one in (region.picture, latent, unknown))
        return cls(coded, region.latent, latent, grey, unknown, flat, never)

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

    def keep_latent(self, better: Tensor, picture: Tensor) -> None:
        """Take over `latent` and its picture where the cost is the lowest so far."""
        self.best_latent = torch.where(better, self.latent.detach(), self.best_latent)
        pixels = levels.spread_to(better, picture.shape[2:])  # (B, 1, 16h, 16w)
        self.best_picture = torch.where(pixels, picture, self.best_picture)

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
        for part, features in zip(objective.region.parts, objective.features, strict=True):
            place = (..., *part.place)
            tile_target = target[place].contiguous()  # plane by plane, like the context's tensors: half the time
            code_pass = partial(_choose, model, part, tile_target, moving[place], curvature[place], objective.bits)
            quality = part_of(objective.quality, part.place)
            coded = run_passes(features, quality, model.integers, code_pass, arithmetic_on(target.device))
            self.coded.append(coded.part(part.inner))
            self.latent[(..., *part.improved(part.place))] = shown_latents(model, self.coded[-1])


def _choose(
    model: Model,
    tile_part: TilePart,
    target: Tensor,
    moving: Tensor,
    curvature: Tensor,
    bits: Tensor,
    part: Pass,
    mean: Tensor,
    index: Tensor,
) -> Tensor:
    """The symbols of one pass for the `target` y^, (B, M, h, w) in steps: the cheapest where a latent is `moving`;
    elsewhere the nearest, which is the same as before unless the context has moved the mean. What surrounds the piece
    keeps the symbols that it has."""
    residual = residual_of(target, part, mean).clamp(-SYMBOL_MAX, SYMBOL_MAX)
    cheapest = cheapest_symbols(residual, curvature[:, part.channels], bits, index, model.centroid)
    chosen = zero_outliers(torch.where(moving[:, part.channels], cheapest, residual.round()), index)
    symbol = tile_part.tile.coded.symbol[:, part.channels, *tile_part.window].clone()
    symbol[(..., *tile_part.inner)] = chosen[(..., *tile_part.inner)]
    return symbol


def cheapest_symbols(target: Tensor, curvature: Tensor, bits: Tensor, index: Tensor, centroid: Tensor) -> Tensor:
    """The symbols near `target` reconstructions, (B, M, h, w), of least distortion plus bits: of the two around it, the
    one nearer to zero, and zero itself. Zero is the nearest below half of what a magnitude of 1 stands for, which is
    most of them, and costs least bits; so the others alone are compared."""

    def compare(target: Tensor, curvature: Tensor, index: Tensor) -> Tensor:
        low, nearer_zero = target.floor(), (target.abs() - 1).clamp(min=0).floor().copysign(target)
        best = best_cost = None
        for candidate in (low, low + 1, nearer_zero, torch.zeros_like(target)):
            distortion = curvature / 2 * (dequantise(candidate, index, centroid) - target).square()
            cost = distortion + cost_of(bits, candidate, index)
            best = candidate if best is None else torch.where(cost < best_cost, candidate, best)
            best_cost = cost if best_cost is None else torch.minimum(cost, best_cost)
        assert best is not None
        return best

    return beyond(float((1 - centroid[:, 1].abs()).amin() / 2), compare, target, curvature, index)
