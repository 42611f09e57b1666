"""What a command asks for each file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapic.bitstream import Error
from lapic.codec import defaults


@dataclass(frozen=True)
class EncodeJob:
    """`source` and `target` are file names or "-"."""

    source: str
    target: str
    quality: float = defaults.DEFAULT_QUALITY
    tile: int = 1024
    size: int | None = None  # these three: targets instead of a quality
    bpp: float | None = None
    psnr: float | None = None
    effort: int = defaults.DEFAULT_EFFORT
    tune: str = "psnr"
    lanes: bool = False  # that a GPU decodes at once
    keep_hidden: bool = False  # code the colours of fully transparent pixels as they are
    model: str = defaults.AUTO_MODEL
    max_pixels: int = defaults.MAX_PIXELS
    device: str = "auto"
    strip: bool = False  # leave out ICC profile, EXIF and XMP
    strict: bool = False  # refuse what cannot be kept whole
    force: bool = False
    keep_times: bool = False


@dataclass(frozen=True)
class DecodeJob:
    """`suffix`, such as ".png", decides the format."""

    source: str
    target: str
    suffix: str = ".png"
    model: str | None = None  # name or weights file; None looks for it by the file's id
    scale: int = 1
    crop: tuple[int, int, int, int] | None = None
    max_pixels: int = defaults.MAX_PIXELS
    device: str = "auto"
    salvage: bool = False
    realism: float = 0.0
    strip: bool = False
    strict: bool = False  # refuse a format that does not keep all of the picture
    background: str = "white"  # behind transparent pixels where the format has no alpha
    force: bool = False
    keep_times: bool = False


def refuse_losses(job: Any, notes: list[str]) -> None:
    """Raise `Error` with what a job would lose, if it is to be strict."""
    if notes and job.strict:
        raise Error(f"{job.source}: {'; '.join(notes)} (refused by --strict)")


def finish_times(job: Any) -> None:
    """Give a job's target the times of its source, where that was asked."""
    if job.keep_times:
        found = Path(job.source).stat()
        os.utime(job.target, ns=(found.st_atime_ns, found.st_mtime_ns))
