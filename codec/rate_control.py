"""Finding the quality that meets a target: a number of bytes, of bits per pixel, or of dB.

The analysis is done once for each model; each trial only quantises and codes (and, for PSNR, decodes).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import bitstream
from bitstream import Error
from bitstream.container import QUALITY_ONE
from codec.decoder import decode_pixels
from codec.encoder import analyse, encode_latents, header_of
from codec.metrics import psnr
from codec.model import Model
from codec.tiling import Rect

TRIALS = 16
BYTES_CLOSE, DECIBEL_CLOSE = 0.005, 0.02  # where the search may stop: relative, dB
REACH, DECIBEL_REACH = 0.02, 0.1  # farther from its target no file is given out if the search can help it
BEYOND = 1.2  # times the highest quality that a model was trained for: so far pictures stay sane


@dataclass(frozen=True)
class Target:
    """Exactly one of: `size`, bytes that must not be exceeded; `bpp`, bits per pixel of the whole file; `psnr`, dB."""

    size: int | None = None
    bpp: float | None = None
    psnr: float | None = None

    def check(self) -> None:
        """Raise ValueError unless exactly one target is given, and positive."""
        given = [value for value in (self.size, self.bpp, self.psnr) if value is not None]
        if len(given) != 1 or not given[0] > 0:
            raise ValueError("give one target, and a positive one: size, bpp or psnr")


@dataclass(frozen=True)
class Stretch:
    """The qualities from `lowest` to `highest`, which one model serves; `model` gives it."""

    model: Callable[[], Model]
    lowest: float
    highest: float


@dataclass(frozen=True)
class _Trial:
    """A file that was made: how far it is above the target (log ratio of bytes, or dB), its quality, its bytes."""

    excess: float
    quality: float
    data: bytes


def encode_to_target(
    stretches: list[Stretch],
    pixels: NDArray[np.uint8],
    target: Target,
    tile: int,
    chunks: dict[bytes, bytes] | None = None,
    effort: int = 0,
    lanes: bool = False,
    tune: str = "psnr",
) -> bytes:
    """The file of a picture that meets a target; the effort of `codec.search` is spent on every trial, tuned by `tune`.

    Args:
        stretches: of qualities to look in, in rising order. Between two of them sizes jump; in such a gap the model of
            the lower one serves some qualities above its own too.

    Returns:
        For `size` the largest file found that is no larger, for `bpp` and `psnr` the closest file found.

    Raises:
        ValueError: the target is not one.
        Error: it lies more than 2 % (for PSNR: 0.1 dB) outside what these qualities reach.
    """
    target.check()
    latents: dict[bytes, list[tuple[Rect, Tensor]]] = {}  # of each model
    limit = target.size or (target.bpp or 0) * pixels.shape[0] * pixels.shape[1] / 8
    close = BYTES_CLOSE if target.psnr is None else DECIBEL_CLOSE
    aim = -close if target.size else 0.0  # stay a little below what must not be exceeded
    tried: list[_Trial] = []

    @cache
    def trial(stretch: Stretch, quality: float) -> float:
        """Make a file, and say how far it is above the aim."""
        model = stretch.model()
        if model.identity not in latents:
            latents[model.identity] = list(analyse(model, pixels, tile))
        header = header_of(model, pixels, quality, tile, chunks)
        data = encode_latents(model, header, latents[model.identity], pixels, effort, lanes=lanes, tune=tune)
        if target.psnr is None:
            excess = math.log(len(data) / limit)
        else:
            excess = psnr(pixels, decode_pixels(model, *bitstream.read(data))) - target.psnr
        tried.append(_Trial(excess, quality, data))
        return excess - aim

    def nearest() -> _Trial | None:
        allowed = [one for one in tried if not target.size or one.excess <= 0]
        return min(allowed, key=lambda one: abs(one.excess), default=None)

    enough = (number for number, one in enumerate(stretches) if trial(one, one.highest) >= 0)
    number = next(enough, len(stretches) - 1)
    here = stretches[number]
    _search(partial(trial, here), close, (here.lowest, here.highest))
    best, reach = nearest(), REACH if target.psnr is None else DECIBEL_REACH
    if number and trial(here, here.lowest) > 0 and (best is None or abs(best.excess) > reach):  # in the gap before it
        below = stretches[number - 1]
        _search(partial(trial, below), close, (below.highest, min(BEYOND * below.highest, here.highest)))
        best = nearest()
    within = math.inf if target.size else reach  # a smaller file than asked for is fine
    ends = (stretches[0].lowest, stretches[-1].highest)
    if best is None or (abs(best.excess) > within and best.quality in ends):
        data = (best or tried[0]).data
        what = f"{len(data)} bytes, {8 * len(data) / pixels.shape[0] / pixels.shape[1]:.3f} bpp"
        raise Error(f"the target cannot be reached: quality {(best or tried[0]).quality:g}, the nearest, gives {what}")
    return best.data


def _search(function: Callable[[float], float], close: float, between: tuple[float, float]) -> None:
    """Call a rising function of the quality on the way to its root, in steps of 1/256.

    The Illinois variant of the regula falsi: the logarithm of the size is nearly a straight line over the quality."""
    low, high = between
    tried = {low: function(low)}
    if tried[low] >= 0:
        return
    tried[high] = function(high)
    below, above = tried[low], tried[high]
    side = 0
    while len(tried) < TRIALS and above > 0 and min(map(abs, tried.values())) > close and high - low > 1 / QUALITY_ONE:
        guess = low + (high - low) * below / (below - above)
        guess = round(min(max(guess, low + 1 / QUALITY_ONE), high - 1 / QUALITY_ONE) * QUALITY_ONE) / QUALITY_ONE
        if guess in tried:
            break
        value = tried[guess] = function(guess)
        if value < 0:
            low, below = guess, value
            above = above / 2 if side == -1 else above
            side = -1
        else:
            high, above = guess, value
            below = below / 2 if side == 1 else below
            side = 1
