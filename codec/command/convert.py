"""One file in, one file out: what the commands do for each file, in this process or in a worker's."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lapic.bitstream import Error, read_header
from lapic.codec import api, defaults, files
from lapic.codec.command.jobs import DecodeJob, EncodeJob, finish_times, refuse_losses
from lapic.codec.decode.realism import INVENTS_BELOW
from lapic.codec.picture.tensors import Progress, no_progress


def encode_file(job: EncodeJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Encode one file.

    Returns:
        width, height, bytes, quality, seconds, and `notes`: what could not be kept.

    Raises:
        Error, ValueError: with one line that says why not.
    """
    from lapic.codec.command import large
    from lapic.codec.picture import pillow

    began = time.perf_counter()
    files.check_absent(job.target, job.force)
    if job.source != "-" and os.path.isfile(job.source) and large.is_large_file(job.source):
        return large.encode_file(job, progress)
    source = files.read_input(job.source)
    image = pillow.open_image(source, job.max_pixels)
    notes = pillow.losses(image, source, job.strip)
    refuse_losses(job, notes)
    data = encode_image(image, job, progress)
    files.write_output(job.target, data, job.force)
    finish_times(job)
    header = read_header(data)
    return {
        "width": header.width,
        "height": header.height,
        "bytes": len(data),
        "quality": header.quality,
        "seconds": time.perf_counter() - began,
        "notes": notes,
    }


def encode_image(image: Any, job: EncodeJob, progress: Progress = no_progress) -> bytes:
    """Encode one Pillow image with a job's settings."""
    if job.strip:
        from lapic.codec.picture import pillow

        image = pillow.stripped(image)
    targets = {"size": job.size, "bpp": job.bpp, "psnr": job.psnr}
    settings = {"effort": job.effort, "tune": job.tune, "lanes": job.lanes, "tile": job.tile, "device": job.device}
    settings["keep_hidden"] = job.keep_hidden
    return api.encode(image, job.quality, model=job.model, progress=progress, **targets, **settings)


def encode_frames(job: EncodeJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Encode every frame of an animation to `target`/frame-0001.lapic, frame-0002.lapic ...

    Returns as `encode_file`, with `frames`, bytes in all and the size of the first frame. Of a file that is damaged the
    whole frames are encoded, and one of the notes says so.
    """
    from lapic.codec.picture import pillow, reading

    began = time.perf_counter()
    source = files.read_input(job.source)
    image = pillow.open_image(source, job.max_pixels)
    notes: list[str] = []
    if job.strict:
        for frame in reading.frames(image, job.max_pixels, notes):
            notes += pillow.losses(frame, source, job.strip, of_frame=True)
        refuse_losses(job, list(dict.fromkeys(notes)))
        image = pillow.open_image(source, job.max_pixels)
    total = count = 0
    size: dict[str, Any] = {}
    for count, frame in enumerate(reading.frames(image, job.max_pixels, notes), 1):
        target = str(Path(job.target) / f"frame-{count:04}.lapic")
        Path(job.target).mkdir(parents=True, exist_ok=True)
        files.check_absent(target, job.force)
        notes += pillow.losses(frame, source, job.strip, of_frame=True)
        data = encode_image(frame, replace(job, target=target))
        files.write_output(target, data, job.force)
        header = read_header(data)
        size = size or {"width": header.width, "height": header.height}
        total += len(data)
        progress(count, count)
    seconds = time.perf_counter() - began
    return size | {"frames": count, "bytes": total, "seconds": seconds, "notes": list(dict.fromkeys(notes))}


def decode_file(job: DecodeJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Decode one file.

    Returns:
        width, height, bytes, seconds, `notes`: what was missing of a salvaged file and what the format does not keep,
        and `hints`: what to know about such decodes.

    Raises:
        Error, ValueError: with one line that says why not.
    """
    from lapic.codec.command import large
    from lapic.codec.picture import pillow

    began = time.perf_counter()
    files.check_absent(job.target, job.force)
    data = files.read_input(job.source)
    invents = job.realism > 0.5 and read_header(data).quality < INVENTS_BELOW
    hints = {"hints": ["realism at so low a quality may invent: texture, and even text and faces"] if invents else []}
    if _large_output(job, data):
        return large.decode_file(job, data, progress) | hints
    pillow.format_of(job.suffix)  # complain before the work, not after
    missing: list[tuple[int, int, int, int]] | None = [] if job.salvage else None
    image = api.decode(
        data,
        model=job.model,
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
    from lapic.codec.command import large

    if job.salvage:
        return False
    header = read_header(data)
    width, height = job.crop[2:] if job.crop else (header.width, header.height)
    return large.is_large(width * height // job.scale**2)


def deliver(image: Any, job: Any, began: float, notes: list[str]) -> dict[str, Any]:
    """Write a Pillow image as a picture file, as a job with `target`, `suffix`, `background`, `strip`, `strict` and
    `force` wants it.

    Args:
        began: when the work began, by time.perf_counter().

    Returns:
        width, height, bytes, seconds and `notes`, to which is added what the format does not keep.

    Raises:
        Error: the format does not keep all, and the job is strict.
    """
    from lapic.codec.picture import pillow

    if job.strip:
        image.info = {}
    data, lost = pillow.write_picture(image, job.suffix, job.background)
    refuse_losses(job, lost)
    notes = notes + lost
    files.write_output(job.target, data, job.force)
    finish_times(job)
    size = {"width": image.width, "height": image.height}
    return size | {"bytes": len(data), "seconds": time.perf_counter() - began, "notes": notes}


def verify_file(
    source: str, device: str = "auto", max_pixels: int = defaults.MAX_PIXELS, model: str | None = None
) -> str:
    """Check that a file decodes, without making the picture.

    Args:
        model: name or weights file of the model that it needs; None looks for it by its id.

    Returns:
        One line about the file's contents.

    Raises:
        Error: it is damaged; the message says which tiles are.
    """
    from lapic import bitstream
    from lapic.codec.decode import symbols
    from lapic.codec.model.codec_weights import load_by_id, pick_device
    from lapic.codec.picture import pillow

    data = files.read_input(source)
    header, tiles = bitstream.read(data, max_pixels, salvage=True)
    loaded = load_by_id(header.model, pick_device(device), given=model)
    pillow.read_alpha(header.chunks, (header.width, header.height), max_pixels)
    damaged = symbols.damaged_tiles(loaded, header, tiles)
    if damaged:
        areas = ", ".join(f"{area.width} x {area.height} at {area.left},{area.top}" for area in damaged[:4])
        more = " ..." if len(damaged) > 4 else ""
        raise Error(f"{len(damaged)} of {len(tiles)} tiles are damaged or missing: {areas}{more}")
    bitstream.read(data, max_pixels)
    return f"{header.width} x {header.height}, {len(tiles)} tile(s), quality {header.quality:g}, all checksums match"
