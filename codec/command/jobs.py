"""What a command asks for each file, and what all of its jobs end with."""

import os
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

from lapic.bitstream import Error
from lapic.codec import defaults, files


@dataclass(frozen=True)
class Job:
    """One file to read and one to write. `source` and `target` are file names, addresses or "-"."""

    source: str
    target: str
    _: KW_ONLY
    max_pixels: int = defaults.MAX_PIXELS
    device: str = "auto"
    strip: bool = False  # leave out ICC profile, EXIF and XMP
    strict: bool = False  # refuse what cannot be kept whole
    force: bool = False  # replace an existing target
    keep_times: bool = False  # give the target the times of the source


@dataclass(frozen=True)
class EncodeJob(Job):
    """A picture to compress."""

    _: KW_ONLY
    quality: float = defaults.DEFAULT_QUALITY
    tile: int = 1024
    size: int | None = None  # these three: targets instead of a quality
    bpp: float | None = None
    psnr: float | None = None
    effort: int = defaults.DEFAULT_EFFORT
    tune: str = defaults.DEFAULT_TUNE
    lanes: bool = False  # that a GPU decodes at once
    keep_hidden: bool = False  # code the colours of fully transparent pixels as they are
    model: str = defaults.AUTO_MODEL
    roi: tuple[str, ...] = ()  # regions that matter, see `codec.api.encode`


@dataclass(frozen=True)
class PictureJob(Job):
    """A picture file to write: `suffix`, such as ".png", decides its format."""

    suffix: str = ".png"
    _: KW_ONLY
    background: str = "white"  # behind transparent pixels where the format has no alpha


@dataclass(frozen=True)
class DecodeJob(PictureJob):
    """A .lapic file to decode."""

    _: KW_ONLY
    model: str | None = None  # name or weights file; None looks for it by the file's id
    scale: int = 1
    crop: tuple[int, int, int, int] | None = None
    salvage: bool = False
    realism: float = 0.0


@dataclass(frozen=True)
class RestoreJob(PictureJob):
    """A picture to repair, see `codec.api.restore`."""

    _: KW_ONLY
    task: str = "auto"
    strength: float = 1.0
    scale: int = 2
    look: str = "faithful"


@dataclass(frozen=True)
class TranslateJob(PictureJob):
    """A picture to translate, see `codec.api.translate`."""

    _: KW_ONLY
    model: str
    strength: float = 1.0


def refuse_unsupported(job: Job, unsupported: list[str]) -> None:
    """Raise `Error` with what cannot be kept of a strict job's picture, if there is something."""
    if unsupported and job.strict:
        raise Error(f"{job.source}: {'; '.join(unsupported)} (refused by --strict)")


def everywhere(job: Any) -> Any:
    """The same job for a process with another working folder: the names of its local files are absolute."""
    names = {field: getattr(job, field, None) for field in ("source", "target", "model")}
    if names["model"] and not os.path.isfile(names["model"]):  # the name of a shipped one
        names["model"] = None
    local: dict[str, Any] = {
        field: os.path.abspath(name) for field, name in names.items() if name and not files.is_address(name)
    }
    if regions := getattr(job, "roi", ()):
        from lapic.codec.picture import roi

        local["roi"] = tuple(os.path.abspath(one) if roi.is_mask(one) else one for one in regions)
    return replace(job, **local)


def copy_times(job: Job) -> None:
    """Give the target the times of the source, if the job asks for it and both are local; standard input has none."""
    if job.keep_times and job.source != "-" and not files.is_address(job.source) and not files.is_address(job.target):
        times = Path(job.source).stat()
        os.utime(job.target, ns=(times.st_atime_ns, times.st_mtime_ns))
