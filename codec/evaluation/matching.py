"""Peers at the same file size: the only fair way to look at two codecs side by side."""

from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

from lapic.codec.evaluation.codec import Codec, Pixels
from lapic.codec.evaluation.codecs import make
from lapic.codec.evaluation.measure import load_rgb


@dataclass(frozen=True)
class MatchJob:
    """Find the quality at which `codec` makes at most `limit` bytes of a picture. `known` are qualities with sizes
    that were measured before, which narrow the search."""

    picture: Path
    codec: str
    limit: int
    known: tuple[tuple[float, int], ...]
    threads: int


def match(job: MatchJob) -> dict[str, Any]:
    """The found quality as {"quality": number}; a run's worker calls this."""
    return {"quality": quality_at_size(make(job.codec, job.threads), load_rgb(job.picture), job.limit, dict(job.known))}


def quality_at_size(
    codec: Codec, pixels: Pixels, limit: int, known: dict[float, int] | None = None, close: float = 0.0
) -> float:
    """The highest quality, in the codec's steps, whose file has at most `limit` bytes, by bisection; the codec's lowest
    quality if even that is larger. Sizes are taken to rise with quality.

    Args:
        codec, pixels: what encodes which picture, (H, W, 3).
        limit: in bytes.
        known: sizes of files that were made before, by quality.
        close: take the first file that is smaller than `limit` by at most this share; above 0, fewer files are made.
    """
    exact = [quality for quality, size in (known or {}).items() if size == limit]
    if exact:  # such as another decode of the very file that set the limit
        return max(exact)
    step = max(codec.step, (codec.span[1] - codec.span[0]) / 1024)

    def index_of(quality: float) -> float:
        return (quality - codec.span[0]) / step

    low, high = 0, int(index_of(codec.span[1])) + 1
    for quality, size in (known or {}).items():
        if size <= limit:
            low = max(low, int(index_of(quality)))
        else:
            high = min(high, -int(-index_of(quality) // 1))
    sizes: dict[int, int] = {}
    while high - low > 1:
        middle = (low + high) // 2
        if close and low in sizes and high in sizes:
            share = log(limit * (1 - close / 2) / sizes[low]) / log(sizes[high] / sizes[low])
            middle = min(max(low + round(share * (high - low)), low + 1), high - 1)
        sizes[middle] = len(codec.encode(pixels, codec.span[0] + middle * step))
        low, high = (middle, high) if sizes[middle] <= limit else (low, middle)
        if close and limit * (1 - close) <= sizes[middle] <= limit:
            break
    return codec.span[0] + low * step
