"""One picture file in, one picture file out: what `restore` and `translate` do for each file, in this process or in a
worker's."""

import time
from dataclasses import dataclass
from typing import Any

from lapic.bitstream import Error
from lapic.codec import api, defaults, files
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.command.convert import deliver
from lapic.codec.command.jobs import refuse_losses


@dataclass(frozen=True)
class RetouchJob:
    """`source` and `target` are file names or "-". With a `model` the picture is translated, else restored."""

    source: str
    target: str
    suffix: str = ".png"  # decides the format
    task: str = "auto"
    model: str | None = None
    strength: float = 1.0
    scale: int = 2
    look: str = "faithful"
    max_pixels: int = defaults.MAX_PIXELS
    device: str = "auto"
    strip: bool = False  # leave out ICC profile, EXIF and XMP
    strict: bool = False  # refuse what cannot be kept whole
    background: str = "white"  # behind transparent pixels where the format has no alpha
    force: bool = False
    keep_times: bool = False


def retouch_file(job: RetouchJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Restore or translate one file.

    Returns:
        width, height, bytes, seconds, and `notes`: what could not be kept.

    Raises:
        Error, ValueError: with one line that says why not.
    """
    from lapic.codec.picture import pillow

    began = time.perf_counter()
    pillow.format_of(job.suffix)  # complain before the work, not after
    files.check_absent(job.target, job.force)
    source = files.read_input(job.source)
    image = pillow.open_image(source, job.max_pixels)
    notes = [note.removesuffix(": see --frames") for note in pillow.losses(image, source, job.strip)]
    refuse_losses(job, notes)
    if job.model is not None:
        made = api.translate(image, job.model, strength=job.strength, device=job.device, progress=progress)
    else:
        enlarged = image.width * image.height * job.scale**2
        if job.task == "upscale" and enlarged > job.max_pixels:
            raise Error(f"the result would have {enlarged} pixels: see --max-pixels")
        made = api.restore(
            image,
            job.task,
            strength=job.strength,
            scale=job.scale,
            look=job.look,
            device=job.device,
            progress=progress,
        )
    return deliver(made, job, began, notes)
