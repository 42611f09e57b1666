"""One picture file in, one picture file out: what `restore` and `translate` do for each file, in this process or in a
worker's."""

import time
from typing import TYPE_CHECKING, Any

from lapic.bitstream import Error
from lapic.codec import api, files
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.command.convert import write_picture
from lapic.codec.command.jobs import PictureJob, RestoreJob, TranslateJob, refuse_unsupported

if TYPE_CHECKING:
    from PIL import Image


def restore_file(job: RestoreJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Restore one file.

    Returns:
        width, height, bytes, seconds, and `notes`: what of the picture is not kept.

    Raises:
        Error, ValueError: with one line that says why not.
    """
    began = time.perf_counter()
    image, notes = _read_picture(job)
    pixels = image.width * image.height * job.scale**2
    if job.task == "upscale" and pixels > job.max_pixels:
        raise Error(f"the result would have {pixels} pixels: see --max-pixels")
    restored = api.restore(
        image,
        job.task,
        strength=job.strength,
        scale=job.scale,
        look=job.look,
        device=job.device,
        progress=progress,
    )
    return write_picture(restored, job, began, notes)


def translate_file(job: TranslateJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Translate one file; returns and raises as `restore_file` does."""
    began = time.perf_counter()
    image, notes = _read_picture(job)
    translated = api.translate(image, job.model, strength=job.strength, device=job.device, progress=progress)
    return write_picture(translated, job, began, notes)


def _read_picture(job: PictureJob) -> tuple["Image.Image", list[str]]:
    """A job's picture, and what of it is not kept. Raises `Error` if it cannot be read, the target cannot be written,
    or something is not kept and the job is strict."""
    from lapic.codec.picture import pillow

    pillow.format_of(job.suffix)  # complain before the work, not after
    files.check_absent(job.target, job.force)
    source = files.read_input(job.source)
    image = pillow.open_image(source, job.max_pixels)
    notes = [note.removesuffix(": see --frames") for note in pillow.unsupported(image, source, job.strip)]
    refuse_unsupported(job, notes)
    return image, notes
