"""Pictures too large for memory: rows from disk and rows to disk, by libvips (package pyvips).

The encoder reads its pixels from top to bottom, and the decoder yields them in that order. So memory holds one band of
rows and the compressed data. libvips reads and writes the files in the same way. Steps that need the whole picture
first are left out: RGB with equal channels is coded as RGB.
"""

import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from queue import Full, Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from lapic import bitstream
from lapic.bitstream import Error
from lapic.bitstream.container import ALPHA, EXIF, ICC, XMP
from lapic.codec import files
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.command.jobs import DecodeJob, EncodeJob, copy_times, refuse_unsupported
from lapic.codec.encode import encoder
from lapic.codec.memory import give_back_freed_memory
from lapic.codec.picture import exif, formats, probe, reading, saving
from lapic.codec.picture.pillow import identify_alpha
from lapic.codec.picture.rows import STRIP_ROWS, alpha_rows, is_opaque, open_rows, reason_of, vips_package
from lapic.codec.picture.saving import png_chunk

LARGE = 100_000_000  # pixels from which pictures go this way
QUEUED_STRIPS = 16  # strips that may wait to be written, so that decoding goes on meanwhile
PIECE = 64  # latents: smaller pieces take less memory, but more of their surroundings are computed twice
VIPS_FIELDS = {ICC: "icc-profile-data", XMP: "xmp-data"}
PILLOW_KEYS = {ICC: "icc_profile", EXIF: "exif", XMP: "xmp"}
WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".tif": {"bigtiff": True, "tile": True, "compression": "deflate", "predictor": "horizontal"},
    ".png": {"compression": 6},
    ".jpg": {"Q": 95},
}
MM_PER_INCH = 25.4
Dpi = tuple[float, float]  # pixels per inch across and down
PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's colour types by the number of channels
ALIASES = {".tiff": ".tif", ".jpeg": ".jpg"}


def is_large(pixels: int) -> bool:
    """Whether a picture of so many pixels is coded row by row: it is large, and pyvips is installed."""
    return pixels >= LARGE and find_spec("pyvips") is not None


def is_large_file(name: str) -> bool:
    """Whether a picture file is read row by row: it is large, and libvips can read its format."""
    try:
        with Path(name).open("rb") as file:
            image = reading.identify(file)  # nothing is read but the header
            pixels = image.width * image.height
    except Exception:  # Pillow raises many types; reading the whole file reports what is wrong with it
        return False
    if not is_large(pixels):
        return False
    try:
        vips_package().Image.new_from_file(name, access="sequential")
    except (vips_package().Error, UnicodeEncodeError):  # libvips takes names in UTF-8 alone
        return False
    return True


def encode(job: EncodeJob, progress: Progress = no_progress) -> tuple[bytes, dict[str, Any]]:
    """Encode a picture file in bounded memory: what is compressed is held, and a band of rows.

    Returns:
        The bytes of a .lapic file, and `notes` and `hints` as those of `codec.command.convert.encode_file`.

    Raises:
        Error: the picture cannot be read, has more than `max_pixels`, or something is not kept and the job is strict.
    """
    from lapic.codec.model.codec_weights import load_for, pick_device

    if job.roi or not job.size == job.bpp == job.psnr is None:
        raise Error(f"{job.source}: size, bpp, psnr and roi need all of a picture at once, and this is too large")
    hints = [f"from {LARGE // 1_000_000} megapixels on the effort is 0"] if job.effort else []
    rows, chunks, notes = open_rows(job.source, job.strip)
    if rows.shape[0] * rows.shape[1] > job.max_pixels:
        raise Error(f"{rows.shape[1]} x {rows.shape[0]} is more than {job.max_pixels} pixels: see --max-pixels")
    refuse_unsupported(job, notes)
    model = load_for(job.model, job.quality, pick_device(job.device), job.tune)
    kept = {kind: body for kind, body in chunks.items() if kind == ALPHA or not job.strip}
    data = encoder.encode_pixels(model, rows, job.quality, job.tile, kept, progress, piece=PIECE, lanes=job.lanes)
    return data, {"notes": notes, "hints": hints}


def decode_file(job: DecodeJob, data: bytes, progress: Progress = no_progress) -> dict[str, Any]:
    """Decode the bytes of a .lapic file to a job's target in bounded memory; returns and raises as
    `codec.command.convert.decode_file` does."""
    from lapic.codec.decode import decoder
    from lapic.codec.decode.alpha import alpha_bands
    from lapic.codec.model.codec_weights import load_by_id, pick_device

    began = time.perf_counter()
    suffix = ALIASES.get(job.suffix.lower(), job.suffix.lower())
    if suffix not in WRITE_OPTIONS or job.target == "-":
        raise Error(f"so large a picture goes into a file with {', '.join(WRITE_OPTIONS)}")
    header, tiles = decoder.read(data, job.crop, job.max_pixels)
    alpha = header.chunks.get(ALPHA)
    if alpha:
        identify_alpha(alpha, (header.width, header.height), job.max_pixels)
    background = ImageColor.getrgb(job.background)[:3]
    chunks, dpi, notes = _fitting(header, suffix, job.strip)
    form = formats.by_suffix(suffix)
    if alpha and not form.alpha and not is_opaque(alpha):
        notes.append(saving.note_of_composing(form, job.background))
    refuse_unsupported(job, notes)
    model = load_by_id(header.model, pick_device(job.device), given=job.model)
    view = decoder.View(job.scale, job.crop, PIECE, job.realism)
    area = view.area(header)
    width, height = (-(-(end) // job.scale) - begin // job.scale for begin, end in
                     ((area.left, area.right), (area.top, area.bottom)))  # fmt: skip
    bands = decoder.decode_bands(model, header, tiles, view, progress)
    if alpha:
        bands = _with_alpha(bands, alpha_bands(alpha_rows(alpha), view, header))
    with files.replacing(job.target, job.force, suffix) as beside:
        _write(_freeing(bands), (width, height), chunks, dpi, background, beside)
        written = beside.stat().st_size
    copy_times(job)
    size = {"width": width, "height": height, "bytes": written}
    return size | {"seconds": time.perf_counter() - began, "notes": notes}


def _fitting(header: bitstream.Header, suffix: str, strip: bool) -> tuple[dict[bytes, bytes], Dpi | None, list[str]]:
    """The metadata of a file that the output format can hold, its resolution outside of EXIF, and what is not kept."""
    if strip:
        return {}, None, []
    form = formats.by_suffix(suffix)
    given = {
        PILLOW_KEYS[chunk_type]: header.chunks[chunk_type] for chunk_type in PILLOW_KEYS if chunk_type in header.chunks
    }
    kept, notes = saving.fitting_metadata(given, form, header.pixel_format == bitstream.PixelFormat.GREY)
    if suffix == ".tif" and kept.pop(PILLOW_KEYS[EXIF], None):
        notes.append("EXIF is left out of so large a TIFF: libvips writes none")
    chunks = {chunk_type: kept[key] for chunk_type, key in PILLOW_KEYS.items() if key in kept}
    return chunks, kept.get("dpi"), notes


def _with_alpha(bands: Iterator[NDArray[np.uint8]], alpha: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Bands (h, w, 1 or 3) with those of an alpha channel as their last channel."""
    for colours, levels in zip(bands, alpha, strict=True):
        yield np.concatenate([colours, levels], 2)


def _freeing(bands: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The bands; after each one the memory that it took goes back to the system."""
    for band in bands:
        yield band
        give_back_freed_memory()


def _write(
    bands: Iterator[NDArray[np.uint8]],
    size: tuple[int, int],
    chunks: dict[bytes, bytes],
    dpi: Dpi | None,
    background: tuple[int, ...],
    path: Path,
) -> None:
    """Write bands of rows as a picture file. libvips reads them as a stream, a PNG without compression: unlike a file
    of raw pixels a stream takes no room on disk or in memory.

    libvips reads the stream in several threads of its own. The bands are still decoded in the caller's thread, because
    the allocator keeps memory for each thread that computes, and no other thread can use that memory again.
    """
    waiting: Queue[bytes] = Queue(QUEUED_STRIPS)
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(_write_png, waiting, chunks, dpi, background, path)
        try:
            for part in _png(bands, size):
                if not _put(waiting, part, writer):
                    break
        finally:
            _put(waiting, b"", writer)
        writer.result()


def _put(waiting: Queue[bytes], part: bytes, writer: Future[None]) -> bool:
    """Queue a part for the writer. False if the writer has failed and takes no more."""
    while not writer.done():
        try:
            waiting.put(part, timeout=0.1)
            return True
        except Full:
            continue
    return False


def _write_png(
    parts: Queue[bytes], chunks: dict[bytes, bytes], dpi: Dpi | None, background: tuple[int, ...], path: Path
) -> None:
    """Write the parts of a PNG, of which the last is empty, as a picture file; over a colour if it can hold no alpha.

    EXIF is spliced into the written file, because libvips would rewrite it; so is XMP, except in a TIFF.
    """
    vips = vips_package()
    source = vips.SourceCustom()
    source.on_read(_reader(parts))
    across, down = dpi or (exif.UNKNOWN_DPI, exif.UNKNOWN_DPI)
    try:
        image = vips.Image.new_from_source(source, "", access="sequential", fail_on="error")
        if image.hasalpha() and not formats.by_suffix(path.suffix).alpha:
            image = _composed(image, background)
        image = image.copy(xres=across / MM_PER_INCH, yres=down / MM_PER_INCH)
        for chunk, field in VIPS_FIELDS.items():
            if chunk in chunks:
                image.set_type(vips.GValue.blob_type, field, chunks[chunk])
        if path.suffix == ".tif":
            image.write_to_file(str(path), **WRITE_OPTIONS[path.suffix])
            return
        image.remove(VIPS_FIELDS[XMP])
        more = saving.metadata_segments(path.suffix, chunks.get(EXIF), chunks.get(XMP))
        if path.suffix == ".jpg" and dpi:
            more = _jfif(dpi) + more
        with path.open("wb") as file:
            target = vips.TargetCustom()
            target.on_write(_Splicer(file, more).write)
            image.write_to_target(target, path.suffix, keep="icc", **WRITE_OPTIONS[path.suffix])
    except vips.Error as error:
        raise Error(f"the picture cannot be written: {reason_of(error)}") from None


def _composed(image: Any, background: tuple[int, ...]) -> Any:
    """An image of libvips with alpha over a colour, without."""
    if image.bands == 2 and len(set(background)) == 1:
        return image.flatten(background=background[:1])
    return image.colourspace("srgb").flatten(background=background)


def _jfif(dpi: Dpi) -> bytes:
    """The first segment of a JPEG, which tells its resolution (JFIF 1.02), and which libvips leaves out."""
    return struct.pack(">HH5sHBHHBB", 0xFFE0, 16, b"JFIF\0", 0x0102, 1, round(dpi[0]), round(dpi[1]), 0, 0)


class _Splicer:
    """Writes a PNG or a JPEG into a file and inserts chunks after PNG's header, or segments after JPEG's SOI."""

    FIRST = 33  # bytes: PNG's signature and header

    def __init__(self, file: Any, more: bytes) -> None:
        self.file, self.more, self.begin = file, more, b""

    def write(self, data: bytes) -> int:
        """Write the next bytes; returns how many they are."""
        if len(self.begin) >= self.FIRST:
            self.file.write(data)
            return len(data)
        self.begin += bytes(data)
        if len(self.begin) >= self.FIRST:
            at = 2 if self.begin.startswith(probe.JPEG) else self.FIRST
            self.file.write(self.begin[:at] + self.more + self.begin[at:])
        return len(data)


def _png(bands: Iterator[NDArray[np.uint8]], size: tuple[int, int]) -> Iterator[bytes]:
    """The parts of a PNG whose pixels are not compressed."""

    stored = zlib.compressobj(0)
    for number, band in enumerate(bands):
        if number == 0:
            colour = PNG_COLOURS[band.shape[2]]
            yield b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, colour, 0, 0, 0))
        for top in range(0, len(band), STRIP_ROWS):
            rows = band[top : top + STRIP_ROWS].reshape(-1, size[0] * band.shape[2])
            yield png_chunk(b"IDAT", stored.compress(np.pad(rows, ((0, 0), (1, 0)))))  # every row unfiltered
    yield png_chunk(b"IDAT", stored.flush()) + png_chunk(b"IEND", b"")


def _reader(parts: Queue[bytes]) -> Callable[[int], bytes]:
    """A function that returns the next bytes of the parts, and none after an empty part."""
    waiting, ended = memoryview(b""), False

    def read(size: int) -> bytes:
        nonlocal waiting, ended
        if not waiting and not ended:
            waiting = memoryview(parts.get())
            ended = not waiting
        data, waiting = waiting[:size], waiting[size:]
        return bytes(data)

    return read
