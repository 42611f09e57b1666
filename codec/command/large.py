"""Pictures too large for memory: rows from disk and rows to disk, by libvips (package pyvips).

The encoder asks for its pixels from top to bottom, and the decoder gives its own in that order, so only a band of rows
is ever held, with what is compressed. libvips reads and writes the files in the same way. What needs the whole picture
first is not done: RGB with equal channels is coded as RGB.
"""

import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from queue import Full, Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapic import bitstream
from lapic.bitstream import Error
from lapic.bitstream.container import ALPHA, EXIF, ICC, XMP
from lapic.codec import files
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.command.jobs import DecodeJob, EncodeJob, finish_times, refuse_losses
from lapic.codec.encode import encoder
from lapic.codec.memory import give_back_freed_memory
from lapic.codec.picture import exif, formats, peek, reading, saving
from lapic.codec.picture.rows import STRIP, open_rows, reason_of, vips_package
from lapic.codec.picture.saving import png_chunk

LARGE = 100_000_000  # pixels from which pictures go this way
AHEAD = 16  # strips that may wait to be written, so that decoding goes on meanwhile
PIECE = 64  # latents: smaller pieces than in memory, for their surroundings' sake not smaller still
FIELDS = {ICC: "icc-profile-data", XMP: "xmp-data"}
INFO = {ICC: "icc_profile", EXIF: "exif", XMP: "xmp"}
SETTINGS: dict[str, dict[str, Any]] = {
    ".tif": {"bigtiff": True, "tile": True, "compression": "deflate", "predictor": "horizontal"},
    ".png": {"compression": 6},
    ".jpg": {"Q": 95},
}
MM_PER_INCH = 25.4
ALIASES = {".tiff": ".tif", ".jpeg": ".jpg"}


def is_large(pixels: int) -> bool:
    """Whether a picture of so many pixels is taken row by row: it is large, and pyvips is there."""
    return pixels >= LARGE and find_spec("pyvips") is not None


def is_large_file(name: str) -> bool:
    """Whether a picture file is to be read row by row: it is large, and libvips knows its format."""
    try:
        with Path(name).open("rb") as file:
            image = reading.identify(file)  # nothing is read but the header
            pixels = image.width * image.height
    except Exception:  # of many kinds; whoever reads all of the file says what is wrong with it
        return False
    if not is_large(pixels):
        return False
    try:
        vips_package().Image.new_from_file(name, access="sequential")
    except vips_package().Error:
        return False
    return True


def encode_file(job: EncodeJob, progress: Progress = no_progress) -> dict[str, Any]:
    """As `codec.command.convert.encode_file`, in bounded memory: what is compressed is held, and a band of rows."""
    from lapic.codec.model.codec_weights import load_for, pick_device

    began = time.perf_counter()
    if not job.size == job.bpp == job.psnr is None:
        raise Error(f"{job.source}: size, bpp and psnr need all of a picture at once, and this is too large")
    hints = [f"from {LARGE // 1_000_000} megapixels on the effort is 0"] if job.effort else []
    if hints and job.tune != "psnr":
        hints[0] += ", and nothing is tuned"
    rows, chunks, notes = open_rows(job.source, job.strip)
    if rows.shape[0] * rows.shape[1] > job.max_pixels:
        raise Error(f"{rows.shape[1]} x {rows.shape[0]} is more than {job.max_pixels} pixels: see --max-pixels")
    refuse_losses(job, notes)
    model = load_for(job.model, job.quality, pick_device(job.device))
    kept = {} if job.strip else chunks
    data = encoder.encode_pixels(model, rows, job.quality, job.tile, kept, progress, piece=PIECE, lanes=job.lanes)
    files.write_output(job.target, data, job.force)
    finish_times(job)
    size = {"width": rows.shape[1], "height": rows.shape[0], "bytes": len(data), "quality": job.quality}
    return size | {"seconds": time.perf_counter() - began, "notes": notes, "hints": hints}


def decode_file(job: DecodeJob, data: bytes, progress: Progress = no_progress) -> dict[str, Any]:
    """As `codec.command.convert.decode_file` for the bytes of a file, in bounded memory."""
    from lapic.codec.decode import decoder
    from lapic.codec.model.codec_weights import load_by_id, pick_device

    began = time.perf_counter()
    suffix = ALIASES.get(job.suffix.lower(), job.suffix.lower())
    if suffix not in SETTINGS or job.target == "-":
        raise Error(f"so large a picture goes into a file with {', '.join(SETTINGS)}")
    header, tiles = bitstream.read(data, job.max_pixels)
    chunks, notes = _fitting(header, suffix, job.strip)
    refuse_losses(job, notes)
    model = load_by_id(header.model, pick_device(job.device), given=job.model)
    view = decoder.View(job.scale, job.crop, PIECE, job.realism)
    area = view.area(header)
    width, height = (-(-(end) // job.scale) - begin // job.scale for begin, end in
                     ((area.left, area.right), (area.top, area.bottom)))  # fmt: skip
    bands = _giving_back(decoder.decode_bands(model, header, tiles, view, progress))
    with files.replacing(Path(job.target), job.force, suffix) as beside:
        _write(bands, (width, height), chunks, beside)
    finish_times(job)
    size = {"width": width, "height": height, "bytes": Path(job.target).stat().st_size}
    return size | {"seconds": time.perf_counter() - began, "notes": notes}


def _fitting(header: bitstream.Header, suffix: str, strip: bool) -> tuple[dict[bytes, bytes], list[str]]:
    """The metadata of a file that the format of an output can hold, and what cannot be kept."""
    notes = ["alpha is left out of so large a picture"] if ALPHA in header.chunks else []
    if strip:
        return {}, notes
    form = formats.of(suffix)
    if suffix == ".tif":
        form = replace(form, exif=0)  # libvips writes none
    given = {INFO[kind]: header.chunks[kind] for kind in INFO if kind in header.chunks}
    kept, more = saving.fitting_metadata(given, form, header.pixel_format == bitstream.PixelFormat.GREY)
    return {kind: kept[key] for kind, key in INFO.items() if key in kept}, notes + more


def _giving_back(bands: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The bands, each followed by the return of what making it took."""
    for band in bands:
        yield band
        give_back_freed_memory()


def _write(bands: Iterator[NDArray[np.uint8]], size: tuple[int, int], chunks: dict[bytes, bytes], path: Path) -> None:
    """Write bands of rows as a picture file. libvips reads them as a PNG without compression, which is made as it asks:
    unlike a file of plain pixels that needs no room on disk or in memory.

    libvips asks from threads of its own, now this one, now that. The bands are made by the caller's all the same, for
    every thread that calculates gets its own share of memory, which no other can have back.
    """
    waiting: Queue[bytes] = Queue(AHEAD)
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(_write_png, waiting, chunks, path)
        try:
            for part in _png(bands, size):
                if not _put(waiting, part, writer):
                    break
        finally:
            _put(waiting, b"", writer)
        writer.result()


def _put(waiting: Queue[bytes], part: bytes, writer: Future[None]) -> bool:
    """Hand over a part. False if the writer has ended: it failed, and nobody waits for more."""
    while not writer.done():
        try:
            waiting.put(part, timeout=0.1)
            return True
        except Full:
            continue
    return False


def _write_png(parts: Queue[bytes], chunks: dict[bytes, bytes], path: Path) -> None:
    """Write the parts of a PNG, an empty one at the end, as a picture file. EXIF goes past libvips, which would make it
    anew, and so does XMP but in a TIFF."""
    vips = vips_package()
    source = vips.SourceCustom()
    source.on_read(_reader(parts))
    dpi = exif.resolution(chunks.get(EXIF, b"")) or (exif.UNKNOWN_DPI, exif.UNKNOWN_DPI)
    try:
        image = vips.Image.new_from_source(source, "", access="sequential", fail_on="error")
        image = image.copy(xres=dpi[0] / MM_PER_INCH, yres=dpi[1] / MM_PER_INCH)
        for chunk, field in FIELDS.items():
            if chunk in chunks:
                image.set_type(vips.GValue.blob_type, field, chunks[chunk])
        if path.suffix == ".tif":
            image.write_to_file(str(path), **SETTINGS[path.suffix])
            return
        image.remove(FIELDS[XMP])
        with path.open("wb") as file:
            target = vips.TargetCustom()
            target.on_write(_Splicer(file, saving.markers(path.suffix, chunks.get(EXIF), chunks.get(XMP))).write)
            image.write_to_target(target, path.suffix, keep="icc", **SETTINGS[path.suffix])
    except vips.Error as error:
        raise Error(f"the picture cannot be written: {reason_of(error)}") from None


class _Splicer:
    """Writes a PNG or a JPEG into a file, with more chunks or segments behind its first."""

    FIRST = 33  # bytes: PNG's signature and header; of a JPEG SOI and JFIF's segment are the first 20

    def __init__(self, file: Any, more: bytes) -> None:
        self.file, self.more, self.begin = file, more, b""

    def write(self, data: bytes) -> int:
        """Write the next bytes, and say how many were taken."""
        if len(self.begin) >= self.FIRST:
            self.file.write(data)
            return len(data)
        self.begin += bytes(data)
        if len(self.begin) >= self.FIRST:
            jpeg = 20 if self.begin[2:4] == b"\xff\xe0" else 2
            at = jpeg if self.begin.startswith(peek.JPEG) else self.FIRST
            self.file.write(self.begin[:at] + self.more + self.begin[at:])
        return len(data)


def _png(bands: Iterator[NDArray[np.uint8]], size: tuple[int, int]) -> Iterator[bytes]:
    """The parts of a PNG whose pixels are not compressed."""

    stored = zlib.compressobj(0)
    for number, band in enumerate(bands):
        if number == 0:
            colour = 2 if band.shape[2] == 3 else 0
            yield b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, colour, 0, 0, 0))
        for top in range(0, len(band), STRIP):
            rows = band[top : top + STRIP].reshape(-1, size[0] * band.shape[2])
            yield png_chunk(b"IDAT", stored.compress(np.pad(rows, ((0, 0), (1, 0)))))  # every row unfiltered
    yield png_chunk(b"IDAT", stored.flush()) + png_chunk(b"IEND", b"")


def _reader(parts: Queue[bytes]) -> Callable[[int], bytes]:
    """A function that gives the next bytes of the parts, none once an empty one has come."""
    waiting, ended = memoryview(b""), False

    def read(size: int) -> bytes:
        nonlocal waiting, ended
        if not waiting and not ended:
            waiting = memoryview(parts.get())
            ended = not waiting
        some, waiting = waiting[:size], waiting[size:]
        return bytes(some)

    return read
