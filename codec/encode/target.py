"""Finding the quality that meets a target: a number of bytes, of bits per pixel, or of dB.

A draft, encoded with effort 0, takes a fraction of the time of the resulting file, and size and PSNR of both change
alike with the quality. So drafts find the quality. A file encoded there with the full effort shows by how much the
search for better symbols changes size or PSNR; with this correction the second or third file meets the target.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lapic.bitstream.container import QUALITY_ONE
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.defaults import DEFAULT_TUNE
from lapic.codec.encode.emphasis import BEYOND, Weights, widest
from lapic.codec.encode.encoder import header_of
from lapic.codec.encode.trials import DRAFTS, FILES, Place, Target, Trials
from lapic.codec.model.codec_weights import Model

SPARE_FILES = 3  # beyond FILES if none of those serves
BEYOND_STEPS = 4  # qualities above a model's own that are tried in a gap, since PSNR may fall again there
LIGHTER_STEPS = 7  # halvings of the weights' exponent, which ends nearer than the grain of qualities


class TargetMissed(UserWarning):
    """The nearest file found is off its target."""


@dataclass(frozen=True)
class Stretch:
    """The qualities from `lowest` to `highest`, which one model serves; `model` gives it."""

    model: Callable[[], Model]
    lowest: float
    highest: float


def encode_to_target(
    stretches: list[Stretch],
    pixels: NDArray[np.uint8],
    target: Target,
    tile: int,
    chunks: dict[bytes, bytes] | None = None,
    effort: int = 0,
    lanes: bool = False,
    tune: str = DEFAULT_TUNE,
    progress: Progress = no_progress,
    weights: Weights | None = None,
) -> bytes:
    """The file of a picture that meets a target, with an effort and a tune of `codec.encode.search`.

    Args:
        stretches: of qualities to search, in rising order. Sizes jump from one to the next; to fill such a gap the
            model of the lower one also encodes with some qualities above its own.
        progress: called with the steps done and the steps in all.
        weights: what errors count at each place, see `codec.encode.emphasis`.

    Returns:
        For `size` the largest file found that is no larger, for `bpp` and `psnr` the closest file found. If the closest
        is more than 2 % (for PSNR: 0.1 dB) off, a `TargetMissed` warning says what was found.

    Raises:
        ValueError: the target is not one, or tile, effort or tune is out of range.
        Error: the target lies more than 2 % (for PSNR: 0.1 dB) outside what these qualities reach.
    """
    target.check()
    header_of(stretches[0].model(), pixels, stretches[0].lowest, tile, chunks)  # raises before the work starts
    trials = Trials(pixels, target, tile, chunks, effort, lanes, tune, progress, weights)
    aim = target.aim
    for number in range(1, 1 + FILES + SPARE_FILES if effort else 2):
        trials.file(place_for(trials, stretches, aim))
        best = trials.best()
        enough = target.reach if number >= FILES else target.close
        if best and abs(best.excess - target.aim) <= enough:
            break
        if not best and number >= FILES:  # all files are larger than the target
            aim -= 2 * target.close
    lowest, highest = stretches[0], stretches[-1]
    ends = Place(lowest.model, lowest.lowest), Place(highest.model, highest.highest)
    best = trials.best() or trials.file(ends[0])
    within = math.inf if target.kind == "size" else target.reach  # a smaller file than asked for is fine
    if not target.allows(best.excess) or (abs(best.excess) > within and best.place in ends):
        raise trials.refusal(best)
    if abs(best.excess) > within:
        warnings.warn(str(trials.refusal(best)), TargetMissed, stacklevel=2)
    trials.finish()
    return best.data


def encode_emphasised(
    model: Model,
    pixels: NDArray[np.uint8],
    quality: float,
    weights: Weights,
    tile: int,
    chunks: dict[bytes, bytes] | None = None,
    effort: int = 0,
    lanes: bool = False,
    tune: str = DEFAULT_TUNE,
    progress: Progress = no_progress,
) -> bytes:
    """The file of a picture with regions that matter, about as large as a file of this quality without them.

    The rest of the picture gets that lower quality, in steps of 1/256, at which a draft with regions is as large as one
    without. Where even quality 1 is larger, the weights are lowered. Args as for `encode_to_target`; raises ValueError:
    quality, tile, effort or tune is out of range.
    """
    place = Place(lambda: model, quality)
    plain = Trials(pixels, Target(size=1), tile, chunks, 0, lanes, tune, no_progress)
    size = len(plain.file(place).data)
    trials = Trials(pixels, Target(size=size), tile, chunks, effort, lanes, tune, progress, weights)
    trials.latents = plain.latents
    lowest = max(1, quality - math.ceil(widest(weights)))
    if trials.draft(Place(place.model, lowest)) > trials.target.reach:
        lowest = 1
        trials = replace(trials, weights=fitting_weights(trials, place.model), drafts={}, files={}, sizes={})
    places = drafts_between(trials, place.model, lowest, quality, aim=0)
    data = trials.file(min(places, key=lambda place: abs(trials.draft(place)))).data
    trials.finish()
    return data


def fitting_weights(trials: Trials, model: Callable[[], Model]) -> Weights:
    """The weights of trials, lowered as little as needed for a draft of quality 1 to be no larger than the target.

    Lowered weights are powers of them with an exponent from 0 to 1, so that qualities differ by a part as much.
    """
    assert trials.weights is not None

    def fits(exponent: float) -> bool:
        weights = trials.weights**exponent
        lighter = replace(trials, weights=weights, progress=no_progress, effort=0, drafts={}, files={}, sizes={})
        return lighter.draft(Place(model, 1)) <= trials.target.close

    if fits(1):
        return trials.weights
    low, high = 0.0, 1.0  # without regions it fits
    for _ in range(LIGHTER_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return trials.weights**low


def place_for(trials: Trials, stretches: list[Stretch], aim: float) -> Place:
    """The place with an expected excess nearest to `aim`, an end of the stretches if none comes near; for a size, one
    that is not expected to exceed the target."""
    target = trials.target

    def distance(place: Place) -> float:
        return abs(trials.expected(place) - aim)

    def nearest(places: list[Place]) -> Place:
        limit = aim - target.aim if target.kind == "size" else math.inf
        allowed = [place for place in places if trials.expected(place) <= limit]
        return min(allowed or places[:1], key=distance)

    tops = [Place(stretch.model, stretch.highest) for stretch in stretches]
    number = next((number for number, top in enumerate(tops) if trials.expected(top) >= aim), len(tops) - 1)
    stretch = stretches[number]
    places = drafts_between(trials, stretch.model, stretch.lowest, stretch.highest, aim)
    if number and trials.expected(Place(stretch.model, stretch.lowest)) > aim:  # in the gap before this stretch
        top = tops[number - 1]
        places.append(top)
        if distance(nearest(places)) > target.reach:
            beyond = drafts_beyond(trials, top, min(BEYOND * top.quality, stretch.highest), aim)
            if target.kind == "psnr" and distance(nearest(beyond)) > target.reach:
                beyond = no_larger(trials, beyond, Place(stretch.model, stretch.lowest))
            places += beyond
    return nearest(places)


def drafts_beyond(trials: Trials, top: Place, highest: float, aim: float) -> list[Place]:
    """`drafts_between` the highest quality that a model was trained for and one beyond: up to the first of a few
    qualities that is expected to reach the aim, since PSNR may fall again above it."""
    width = (highest - top.quality) / BEYOND_STEPS
    ends = [round((top.quality + step * width) * QUALITY_ONE) / QUALITY_ONE for step in range(1, BEYOND_STEPS)]
    ends.append(highest)
    end = next((end for end in ends if trials.expected(Place(top.model, end)) >= aim), highest)
    return drafts_between(trials, top.model, top.quality, end, aim)


def no_larger(trials: Trials, places: list[Place], other: Place) -> list[Place]:
    """Those of some places at which a draft is no larger than at another place."""
    return [place for place in places if trials.size_of(place) <= trials.size_of(other)]


def drafts_between(
    trials: Trials, model: Callable[[], Model], lowest: float, highest: float, aim: float
) -> list[Place]:
    """Make drafts between two qualities, in steps of 1/256, until the expected excess of one is close to the aim or no
    other can be closer.

    The method is the Illinois variant of the regula falsi, since the logarithm of the size is nearly a straight line
    over the quality. It starts from the drafts that exist.

    Returns:
        The places of all drafts between these qualities, from the lowest up.
    """

    def above_aim(quality: float) -> float:
        return trials.expected(Place(model, quality)) - aim

    if above_aim(lowest) >= 0 or above_aim(highest) < 0:
        return trials.between(model, lowest, highest)
    low, high = lowest, highest
    for place in trials.between(model, lowest, highest):
        if above_aim(place.quality) >= 0:
            high = place.quality
            break
        low = place.quality
    below, above = above_aim(low), above_aim(high)
    nearest, side = min(-below, above), 0
    for _ in range(DRAFTS - 2):
        if nearest <= trials.target.close or high - low <= 1 / QUALITY_ONE:
            break
        guess = low + (high - low) * below / (below - above)
        guess = round(min(max(guess, low + 1 / QUALITY_ONE), high - 1 / QUALITY_ONE) * QUALITY_ONE) / QUALITY_ONE
        value = above_aim(guess)
        nearest = min(nearest, abs(value))
        if value < 0:
            low, below = guess, value
            above = above / 2 if side == -1 else above
            side = -1
        else:
            high, above = guess, value
            below = below / 2 if side == 1 else below
            side = 1
    return trials.between(model, lowest, highest)
