"""One file in, one file out: what the commands do for each file, in this process or in a worker's."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import codec
from bitstream import Error, read_header
from codec import files
from codec.encoder import Progress, no_progress
from codec.realism import INVENTS_BELOW


@dataclass(frozen=True)
class EncodeJob:
    """`source` and `target` are file names or "-"."""

    source: str
    target: str
    quality: float = codec.DEFAULT_QUALITY
    tile: int = 1024
    size: int | None = None  # these three: targets instead of a quality
    bpp: float | None = None
    psnr: float | None = None
    effort: int = codec.DEFAULT_EFFORT
    tune: str = "psnr"
    lanes: bool = False  # that a GPU decodes at once
    model: str = codec.AUTO_MODEL
    max_pixels: int = codec.MAX_PIXELS
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
    scale: int = 1
    crop: tuple[int, int, int, int] | None = None
    max_pixels: int = codec.MAX_PIXELS
    device: str = "auto"
    salvage: bool = False
    realism: float = 0.0
    strip: bool = False
    force: bool = False
    keep_times: bool = False


def encode_file(job: EncodeJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Encode one file.

    Returns:
        width, height, bytes, quality, seconds, and `notes`: what could not be kept.

    Raises:
        Error, ValueError: with one line that says why not.
    """
    from codec import large, picture

    began = time.perf_counter()
    files.check_absent(job.target, job.force)
    if job.source != "-" and os.path.isfile(job.source) and large.is_large_file(job.source):
        return large.encode_file(job, progress)
    source = files.read_input(job.source)
    image = picture.open_image(source, job.max_pixels)
    notes = picture.losses(image, source)
    if notes and job.strict:
        raise Error(f"{job.source}: {'; '.join(notes)} (refused by --strict)")
    data = encode_image(image, job, progress)
    files.write_output(job.target, data, job.force)
    finish_times(job)
    return {
        "width": image.width,
        "height": image.height,
        "bytes": len(data),
        "quality": read_header(data).quality,
        "seconds": time.perf_counter() - began,
        "notes": notes,
    }


def encode_image(image: Any, job: EncodeJob, progress: Progress = no_progress) -> bytes:
    """Encode one Pillow image with a job's settings."""
    if job.strip:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
        image.info = {key: image.info[key] for key in ("transparency",) if key in image.info}
    targets = {"size": job.size, "bpp": job.bpp, "psnr": job.psnr}
    settings = {"effort": job.effort, "tune": job.tune, "lanes": job.lanes, "tile": job.tile, "device": job.device}
    return codec.encode(image, job.quality, model=job.model, progress=progress, **targets, **settings)


def encode_frames(job: EncodeJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Encode every frame of an animation to `target`/frame-0001.lapic, frame-0002.lapic ...

    Returns as `encode_file`, with `frames`, and bytes in all.
    """
    from PIL import ImageSequence

    from codec import picture

    began = time.perf_counter()
    image = picture.open_image(files.read_input(job.source), job.max_pixels)
    total = count = 0
    Path(job.target).mkdir(parents=True, exist_ok=True)
    for count, frame in enumerate(ImageSequence.Iterator(image), 1):
        target = str(Path(job.target) / f"frame-{count:04}.lapic")
        files.check_absent(target, job.force)
        data = encode_image(frame.copy(), replace(job, target=target))
        files.write_output(target, data, job.force)
        total += len(data)
        progress(count, getattr(image, "n_frames", count))
    seconds = time.perf_counter() - began
    size = {"width": image.width, "height": image.height}
    return size | {"frames": count, "bytes": total, "seconds": seconds, "notes": []}


def decode_file(job: DecodeJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Decode one file.

    Returns:
        width, height, bytes, seconds, `notes`: what was missing of a salvaged file, and `hints`: what to know about
        such decodes.

    Raises:
        Error, ValueError: with one line that says why not.
    """
    from codec import large, picture

    began = time.perf_counter()
    files.check_absent(job.target, job.force)
    data = files.read_input(job.source)
    invents = job.realism > 0.5 and read_header(data).quality < INVENTS_BELOW
    hints = {"hints": ["realism at so low a quality may invent: texture, and even text and faces"] if invents else []}
    if _large_output(job, data):
        return large.decode_file(job, data, progress) | hints
    picture.format_of(job.suffix)  # complain before the work, not after
    missing: list[tuple[int, int, int, int]] | None = [] if job.salvage else None
    image = codec.decode(
        data,
        scale=job.scale,
        crop=job.crop,
        device=job.device,
        max_pixels=job.max_pixels,
        progress=progress,
        missing=missing,
        realism=job.realism,
    )
    notes = [f"missing, filled from around it: {r - x} x {b - y} pixels at {x},{y}" for x, y, r, b in missing or []]
    return deliver(image, job, began, notes) | hints


def _large_output(job: DecodeJob, data: bytes) -> bool:
    """Whether what a job wants of a file has to be written row by row. Salvage fills holes in the whole picture."""
    from codec import large

    if job.salvage:
        return False
    header = read_header(data)
    width, height = job.crop[2:] if job.crop else (header.width, header.height)
    return large.is_large(width * height // job.scale**2)


def deliver(image: Any, job: Any, began: float, notes: list[str]) -> dict[str, Any]:
    """Write a Pillow image as a picture file, as a job with `target`, `suffix`, `strip` and `force` wants it.

    Args:
        began: when the work began, by time.perf_counter().

    Returns:
        width, height, bytes, seconds and `notes`.
    """
    from codec import picture

    if job.strip:
        image.info = {}
    data = picture.save_bytes(image, job.suffix)
    files.write_output(job.target, data, job.force)
    finish_times(job)
    size = {"width": image.width, "height": image.height}
    return size | {"bytes": len(data), "seconds": time.perf_counter() - began, "notes": notes}


def verify_file(source: str, device: str = "auto", max_pixels: int = codec.MAX_PIXELS) -> str:
    """Check that a file decodes, without making the picture.

    Returns:
        One line about the file's contents.

    Raises:
        Error: it is damaged; the message says which tiles are.
    """
    import bitstream
    from codec import decoder, picture
    from codec.model import load_by_id, pick_device

    data = files.read_input(source)
    header, tiles = bitstream.read(data, max_pixels, salvage=True)
    model = load_by_id(header.model, pick_device(device))
    picture.read_alpha(header.chunks, (header.width, header.height))
    damaged = decoder.damaged_tiles(model, header, tiles)
    if damaged:
        areas = ", ".join(f"{area.width} x {area.height} at {area.left},{area.top}" for area in damaged[:4])
        more = " ..." if len(damaged) > 4 else ""
        raise Error(f"{len(damaged)} of {len(tiles)} tiles are damaged or missing: {areas}{more}")
    bitstream.read(data, max_pixels)
    return f"{header.width} x {header.height}, {len(tiles)} tile(s), quality {header.quality:g}, all checksums match"


def finish_times(job: Any) -> None:
    """Give a job's target the times of its source, where that was asked."""
    if job.keep_times:
        found = Path(job.source).stat()
        os.utime(job.target, ns=(found.st_atime_ns, found.st_mtime_ns))
