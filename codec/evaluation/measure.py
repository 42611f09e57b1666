"""One measured point: one picture through one codec at one quality, by way of a real file."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lapic.bitstream import Error
from lapic.bitstream.container import ALPHA, SIGNATURE
from lapic.codec import files
from lapic.codec.api import decode
from lapic.codec.evaluation import codecs
from lapic.codec.evaluation.metrics import all_metrics
from lapic.codec.evaluation.peak import PeakMemory
from lapic.codec.memory import give_back_freed_memory
from lapic.codec.picture.pillow import from_pil, open_image, read_alpha, to_pil
from lapic.codec.picture.planes import in_colour
from lapic.codec.picture.saving import compose

Result = TypeVar("Result")
MEASURED_BY = "measured_by"  # key of a point: the version of each metric that it has
PSNR_IDENTICAL = 100.0  # dB, instead of infinity, so that means and JSON stay sane


@dataclass(frozen=True)
class Job:
    """What to measure.

    Attributes:
        file: where the compressed picture goes and stays, or where it is, if `encoded` is given.
        metrics: by name the version of what measures.
        encoded: the seconds that the file took to make.
        known: what an earlier measurement of this file found, to which the metrics are added.
    """

    picture: Path
    codec: str
    quality: float
    file: Path
    metrics: dict[str, str]
    lpips_net: str
    lpips_backbone: Path | None
    threads: int
    encoded: float | None = None
    known: dict[str, Any] = field(default_factory=dict)

    def lacks(self, point: dict[str, Any]) -> dict[str, str]:
        """The metrics that a point has no figures of, or those of another version."""
        measured_by = point.get(MEASURED_BY, {})
        return {name: version for name, version in self.metrics.items() if measured_by.get(name) != version}


def load_rgb(path: Path | str, model: str | None = None) -> NDArray[np.uint8]:
    """A picture (or a .lapic file, whose model may be given) as (H, W, 3) RGB, upright; a transparent one on white.
    Raises `Error` if it cannot be read."""
    data = files.read_input(str(path))
    image = decode(data, model=model) if data.startswith(SIGNATURE) else open_image(data)
    pixels, chunks = from_pil(image)
    if ALPHA in chunks:
        alpha = read_alpha(chunks, pixels.shape[1::-1])
        pixels = np.asarray(compose(to_pil(pixels, alpha, {}), "white"))
    return in_colour(pixels)


def check(path: Path) -> dict[str, Any]:
    """{"width", "height"} of a picture that can be measured. Raises `Error` if it cannot."""
    height, width = load_rgb(path).shape[:2]
    return {"width": width, "height": height}


@lru_cache(maxsize=2)
def _original(path: Path) -> NDArray[np.uint8]:
    """A picture that is measured, kept for the next codec; it must not change during an evaluation."""
    return load_rgb(path)


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Result and seconds."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


@lru_cache(maxsize=256)
def _warm(name: str, quality: float, threads: int) -> codecs.Codec:
    """A codec that has coded two small pictures at a quality, so that loading what serves it is not timed: a flat one
    and noise, because drawings and photos may have different models."""
    import torch

    torch.set_num_threads(threads)
    codec = codecs.make(name, threads)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for pixels in (np.full_like(noise, 128), noise):
        codec.decode(codec.encode(pixels, quality))
    return codec


def measure(job: Job) -> dict[str, Any]:
    """Encode to `job.file` unless it is made, read it back, decode, compare.

    Returns:
        bytes, bpp, encode_s, decode_s, the metrics by name, and what measured them.

    Raises:
        Whatever a codec raises.
    """
    codec = _warm(job.codec, job.quality, job.threads)
    pixels = _original(job.picture)
    encode_s = job.encoded
    if encode_s is None:
        data, encode_s = _timed(lambda: codec.encode(pixels, job.quality))
        files.write_output(str(job.file), data)
    read = files.read_input(str(job.file))
    decoded, decode_s = _timed(lambda: codec.decode(read))
    if decoded.shape != pixels.shape:
        raise Error(f"{codec.label} gave back a picture of shape {decoded.shape} for {pixels.shape}")
    found = all_metrics(pixels, decoded, tuple(job.metrics), job.lpips_net, job.lpips_backbone)
    if "psnr" in found:
        found["psnr"] = min(found["psnr"] or 0.0, PSNR_IDENTICAL)
    return {
        "bytes": len(read),
        "bpp": 8 * len(read) / (pixels.shape[0] * pixels.shape[1]),
        "encode_s": encode_s,
        "decode_s": decode_s,
        **job.known,
        **found,
        MEASURED_BY: job.known.get(MEASURED_BY, {}) | job.metrics,
    }


@dataclass(frozen=True)
class MemoryJob:
    """Measure the memory that encoding a picture takes, or decoding the compressed `file` if one is given."""

    codec: str
    quality: float
    picture: Path
    file: Path | None
    threads: int


def memory(job: MemoryJob) -> dict[str, float]:
    """{"mib": how far the process grew at its peak}.

    To be called in a fresh process: memory that was freed before would be taken again and not be seen, so what loading
    leaves behind is given back first.
    """
    codec = _warm(job.codec, job.quality, job.threads)
    pixels = load_rgb(job.picture) if job.file is None else None
    data = b"" if job.file is None else files.read_input(str(job.file))
    give_back_freed_memory()
    with PeakMemory() as used:
        _ = codec.decode(data) if pixels is None else codec.encode(pixels, job.quality)
    return {"mib": (used.peak - used.before) / 2**20}
