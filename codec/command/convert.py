"""One file in, one file out: what the commands do for each file, in this process or in a worker's."""

import os
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lapic.bitstream import Error, Header, read_header
from lapic.bitstream.container import QUALITY_MAP
from lapic.codec import api, defaults, files
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.command.jobs import DecodeJob, EncodeJob, PictureJob, copy_times, refuse_unsupported

if TYPE_CHECKING:
    from PIL import Image

INVENTS = "realism at so low a quality may invent: texture, and even text and faces"


def encode_file(job: EncodeJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Encode one file: a large one row by row, another as a whole.

    Returns:
        width, height, bytes, quality, seconds, `notes`: what of the picture is not kept, and perhaps `hints`: what
        holds for all pictures of this kind.

    Raises:
        Error, ValueError: with one line that says why not.
    """
    from lapic.codec.command import large

    began = time.perf_counter()
    files.check_absent(job.target, job.force)
    in_rows = job.source != "-" and os.path.isfile(job.source) and large.is_large_file(job.source)
    data, facts = large.encode(job, progress) if in_rows else _encode(job, progress)
    files.write_output(job.target, data, job.force)
    copy_times(job)
    header = read_header(data)
    size = {"width": header.width, "height": header.height, "bytes": len(data), "quality": header.quality}
    if job.roi and QUALITY_MAP not in header.chunks:
        facts["notes"].append("the file is as without --roi: no region stands out, or none can be better")
    return size | {"seconds": time.perf_counter() - began} | facts


def _encode(job: EncodeJob, progress: Progress) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a .lapic file, and `notes` as those of `encode_file`."""
    from lapic.codec.picture import pillow

    source = files.read_input(job.source)
    image = pillow.open_image(source, job.max_pixels)
    notes = pillow.unsupported(image, source, job.strip)
    refuse_unsupported(job, notes)
    data, missed = _encode_to_target(image, job, progress)
    return data, {"notes": notes + missed}


def _encode_to_target(image: "Image.Image", job: EncodeJob, progress: Progress) -> tuple[bytes, list[str]]:
    """As `encode_image`, with a note if the file is off its target."""
    from lapic.codec.encode.target import TargetMissed

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TargetMissed)
        data = encode_image(image, job, progress)
    return data, [str(warning.message) for warning in caught if warning.category is TargetMissed]


def encode_image(image: "Image.Image", job: EncodeJob, progress: Progress = no_progress) -> bytes:
    """The bytes of a .lapic file of a Pillow image of any mode, encoded with a job's settings. Raises as
    `codec.api.encode` does."""
    if job.strip:
        from lapic.codec.picture import pillow

        image = pillow.stripped(image)
    return api.encode(
        image,
        job.quality,
        model=job.model,
        tile=job.tile,
        device=job.device,
        size=job.size,
        bpp=job.bpp,
        psnr=job.psnr,
        effort=job.effort,
        tune=job.tune,
        lanes=job.lanes,
        keep_hidden=job.keep_hidden,
        roi=job.roi,
        progress=progress,
    )


def encode_frames(job: EncodeJob, progress: Progress = no_progress, skip_existing: bool = False) -> dict[str, Any]:
    """Encode every frame of an animation to `target`/frame-0001.lapic, frame-0002.lapic ...

    Of a damaged file the frames before the damage are encoded, and one of the notes tells how many they are.

    Args:
        skip_existing: whether frames whose file exists are left as they are.

    Returns:
        width and height of the first frame, frames, bytes of those that were encoded, seconds and notes; `skipped`, how
        many were not, if there are any.

    Raises:
        Error, ValueError: with one line that says why not.
    """
    from lapic.codec.picture import pillow, reading

    began = time.perf_counter()
    source = files.read_input(job.source)
    image = pillow.open_image(source, job.max_pixels)
    notes: list[str] = []
    if job.strict:
        for frame in reading.frames(image, job.max_pixels, notes):
            notes += pillow.unsupported(frame, source, job.strip, of_frame=True)
        refuse_unsupported(job, list(dict.fromkeys(notes)))
        image = pillow.open_image(source, job.max_pixels)
    total = count = skipped = 0
    size: dict[str, Any] = {}
    for count, frame in enumerate(reading.frames(image, job.max_pixels, notes), 1):
        target = files.target_of(job.target, f"frame-{count:04}", ".lapic")
        if skip_existing and files.exists(target):
            skipped += 1
            continue
        files.make_parent(target)
        files.check_absent(target, job.force)
        notes += pillow.unsupported(frame, source, job.strip, of_frame=True)
        data, missed = _encode_to_target(frame, replace(job, target=target), no_progress)
        notes += [f"frame {count}: {note}" for note in missed]
        files.write_output(target, data, job.force)
        header = read_header(data)
        size = size or {"width": header.width, "height": header.height}
        total += len(data)
        progress(count, count)
    size = size or {"width": image.width, "height": image.height}
    facts = {"frames": count, "bytes": total, "seconds": time.perf_counter() - began}
    facts |= {"skipped": skipped} if skipped else {}
    return size | facts | {"notes": list(dict.fromkeys(notes))}


def decode_file(job: DecodeJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Decode one file.

    Returns:
        width, height, bytes, seconds, `notes`: the missing parts of a salvaged file and what the format does not keep,
        and `hints`: what holds for all decodes of this kind.

    Raises:
        Error, ValueError: with one line that says why not.
    """
    from lapic.codec.command import large
    from lapic.codec.picture import pillow

    began = time.perf_counter()
    files.check_absent(job.target, job.force)
    data = files.read_input(job.source)
    header = read_header(data)
    hints = {"hints": [INVENTS] if job.realism > 0.5 and header.quality < defaults.INVENTS_BELOW else []}
    if large.is_large(_pixels(job, header)) and not job.salvage:  # salvage fills holes in the whole picture
        return large.decode_file(job, data, progress) | hints
    pillow.format_of(job.suffix)  # complain before the work, not after
    settings: dict[str, Any] = {
        "model": job.model,
        "scale": job.scale,
        "crop": job.crop,
        "device": job.device,
        "max_pixels": job.max_pixels,
        "realism": job.realism,
    }
    missing: list[tuple[int, int, int, int]] = []
    if job.salvage:
        salvaged = api.salvage(data, progress=progress, **settings)
        image, missing = salvaged.image, salvaged.missing
    else:
        image = api.decode(data, progress=progress, **settings)
    notes = [f"missing, filled from around it: {r - x} x {b - y} pixels at {x},{y}" for x, y, r, b in missing]
    return write_picture(image, job, began, notes) | hints


def _pixels(job: DecodeJob, header: Header) -> int:
    """How many pixels the picture has that a job makes of a file."""
    width, height = job.crop[2:] if job.crop else (header.width, header.height)
    return width * height // job.scale**2


def write_picture(image: "Image.Image", job: PictureJob, began: float, notes: list[str]) -> dict[str, Any]:
    """Write a Pillow image of mode L, LA, RGB or RGBA to a job's target.

    Args:
        began: when the work began, by time.perf_counter().
        notes: what is not kept so far.

    Returns:
        width, height, bytes, seconds and `notes`, to which what the format does not keep is added.

    Raises:
        Error: the format does not keep all and the job is strict, or the file cannot be written.
        ValueError: the job's background is no colour.
    """
    from lapic.codec.picture import pillow

    if job.strip:
        image.info = {}
    data, unsupported = pillow.picture_bytes(image, job.suffix, job.background)
    refuse_unsupported(job, unsupported)
    files.write_output(job.target, data, job.force)
    copy_times(job)
    return {
        "width": image.width,
        "height": image.height,
        "bytes": len(data),
        "seconds": time.perf_counter() - began,
        "notes": notes + unsupported,
    }


def verify_file(
    source: str, device: str = "auto", max_pixels: int = defaults.MAX_PIXELS, model: str | None = None
) -> str:
    """Check that a file decodes, without making the picture.

    Args:
        source: a file name, or "-".
        model: name or weights file of the model that it needs; None looks for it by its id.

    Returns:
        One line about the file's contents.

    Raises:
        Error: it is damaged; the message names the damaged tiles.
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
