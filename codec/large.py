"""Pictures too large for memory: rows from disk and rows to disk, by libvips (package pyvips).

The encoder asks for its pixels from top to bottom, and the decoder gives its own in that order, so only a band of rows
is ever held, with what is compressed. libvips reads and writes the files in the same way.
"""

import logging
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

import bitstream
from bitstream import Error
from bitstream.container import ALPHA, EXIF, ICC, XMP
from codec import encoder, files, picture
from codec.convert import DecodeJob, EncodeJob, finish_times
from codec.encoder import Progress, no_progress
from codec.memory import give_back_freed_memory

LARGE = 100_000_000  # pixels from which pictures go this way
STRIP = 64  # rows that are read at a time
AHEAD = 16  # strips that may wait to be written, so that decoding goes on meanwhile
PIECE = 64  # latents: smaller pieces than in memory, for their surroundings' sake not smaller still
FIELDS = {ICC: "icc-profile-data", EXIF: "exif-data", XMP: "xmp-data"}
SETTINGS: dict[str, dict[str, Any]] = {
    ".tif": {"bigtiff": True, "tile": True, "compression": "deflate", "predictor": "horizontal"},
    ".png": {"compression": 6},
    ".jpg": {"Q": 95},
}
ALIASES = {".tiff": ".tif", ".jpeg": ".jpg"}


def is_large(pixels: int) -> bool:
    """Whether a picture of so many pixels is taken row by row: it is large, and pyvips is there."""
    return pixels >= LARGE and find_spec("pyvips") is not None


def is_large_file(name: str) -> bool:
    """Whether a picture file is to be read row by row: it is large, and libvips knows its format."""
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # nothing is read but the header
    try:
        with Image.open(name) as image:
            pixels = image.width * image.height
    except (OSError, ValueError, SyntaxError):
        return False
    finally:
        Image.MAX_IMAGE_PIXELS = before
    if not is_large(pixels):
        return False
    try:
        _vips().Image.new_from_file(name, access="sequential")
    except _vips().Error:
        return False
    return True


class Rows:
    """A picture on disk that is cut like an array (H, W, 3) or (H, W), from top to bottom: rows above the last cut are
    forgotten."""

    def __init__(self, image: Any) -> None:
        self.source = _vips().Region.new(image)
        self.width = image.width
        self.shape = (image.height, image.width, 3) if image.bands == 3 else (image.height, image.width)
        self.ndim = len(self.shape)
        self.top = 0
        self.held = np.empty((0, *self.shape[1:]), np.uint8)

    def __getitem__(self, cut: tuple[slice, slice]) -> NDArray[np.uint8]:
        """Rows and columns by slices with both ends, the rows no higher up than those of the cut before."""
        rows, columns = cut
        bottom = self.top + len(self.held)
        end = min(rows.stop, self.shape[0])
        if rows.start < self.top:
            raise ValueError(f"row {rows.start} was forgotten, {self.top} is the first that is held")
        if end > bottom:
            new = self._read(bottom, end)[max(0, rows.start - bottom) :]
            self.held = np.concatenate([self.held[rows.start - self.top :], new])
            self.top = rows.start
        return self.held[rows.start - self.top : end - self.top, columns]

    def _read(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """The next rows from disk. Raises `Error` if the file is damaged."""
        strips = []
        for row in range(top, bottom, STRIP):
            height = min(STRIP, bottom - row)
            try:
                strip = self.source.fetch(0, row, self.width, height)
            except _vips().Error as error:
                raise Error(f"the picture is damaged: {_reason(error)}") from None
            strips.append(np.frombuffer(strip, np.uint8).reshape(height, *self.shape[1:]))
        return np.concatenate(strips)


def _vips() -> Any:
    """The package pyvips, told to raise what it would otherwise print as well."""
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    import pyvips

    return pyvips


def _reason(error: Exception) -> str:
    """The first line of libvips' messages."""
    return (str(getattr(error, "detail", "") or error).strip().splitlines() or ["unknown reason"])[0]


def _open(name: str) -> tuple[Rows, dict[bytes, bytes], list[str]]:
    """A picture file's rows, the chunks of its metadata, and what of it cannot be kept."""
    vips = _vips()
    try:
        image = vips.Image.new_from_file(name, access="sequential", fail_on="error")
        if image.get_typeof("orientation") and image.get("orientation") != 1:
            whole = vips.Image.new_from_file(
                name, fail_on="error"
            )  # turning needs all of it, which libvips keeps on disk
            image = whole.autorot()
        chunks = {kind: bytes(image.get(field)) for kind, field in FIELDS.items() if image.get_typeof(field)}
        if EXIF in chunks:
            chunks[EXIF] = picture.upright(chunks[EXIF])
        notes = []
        if image.hasalpha():
            image = image[: image.bands - 1]
            notes.append("alpha is left out of so large a picture")
        if image.format != "uchar":
            notes.append("16-bit depth becomes 8 bits")
        if image.interpretation == "cmyk":
            notes.append("CMYK becomes RGB")
            chunks.pop(ICC, None)
        image = image.colourspace("b-w" if image.bands == 1 else "srgb").cast("uchar")
    except vips.Error as error:
        raise Error(f"not a picture that libvips can read: {_reason(error)}") from None
    return Rows(image), chunks, notes


def encode_file(job: EncodeJob, progress: Progress = no_progress) -> dict[str, Any]:
    """As `codec.convert.encode_file`, in bounded memory: what is compressed is held, and a band of rows."""
    from codec.model import load_for, pick_device

    began = time.perf_counter()
    if not job.size == job.bpp == job.psnr is None:
        raise Error(f"{job.source}: size, bpp and psnr need all of a picture at once, and this is too large")
    hints = [f"from {LARGE // 1_000_000} megapixels on the effort is 0"] if job.effort else []
    if hints and job.tune != "psnr":
        hints[0] += ", and nothing is tuned"
    rows, chunks, notes = _open(job.source)
    if rows.shape[0] * rows.shape[1] > job.max_pixels:
        raise Error(f"{rows.shape[1]} x {rows.shape[0]} is more than {job.max_pixels} pixels: see --max-pixels")
    if notes and job.strict:
        raise Error(f"{job.source}: {'; '.join(notes)} (refused by --strict)")
    model = load_for(job.model, job.quality, pick_device(job.device))
    kept = {} if job.strip else chunks
    data = encoder.encode_pixels(model, rows, job.quality, job.tile, kept, progress, piece=PIECE, lanes=job.lanes)
    files.write_output(job.target, data, job.force)
    finish_times(job)
    size = {"width": rows.shape[1], "height": rows.shape[0], "bytes": len(data), "quality": job.quality}
    return size | {"seconds": time.perf_counter() - began, "notes": notes, "hints": hints}


def decode_file(job: DecodeJob, data: bytes, progress: Progress = no_progress) -> dict[str, Any]:
    """As `codec.convert.decode_file` for the bytes of a file, in bounded memory."""
    from codec import decoder
    from codec.model import load_by_id, pick_device

    began = time.perf_counter()
    suffix = ALIASES.get(job.suffix.lower(), job.suffix.lower())
    if suffix not in SETTINGS or job.target == "-":
        raise Error(f"so large a picture goes into a file with {', '.join(SETTINGS)}")
    header, tiles = bitstream.read(data, job.max_pixels)
    model = load_by_id(header.model, pick_device(job.device), given=job.model)
    view = decoder.View(job.scale, job.crop, PIECE, job.realism)
    area = view.area(header)
    width, height = (-(-(end) // job.scale) - begin // job.scale for begin, end in
                     ((area.left, area.right), (area.top, area.bottom)))  # fmt: skip
    bands = _giving_back(decoder.decode_bands(model, header, tiles, view, progress))
    with files.replacing(Path(job.target), job.force, suffix) as beside:
        _write(bands, (width, height), {} if job.strip else header.chunks, beside)
    finish_times(job)
    notes = ["alpha is left out of so large a picture"] if ALPHA in header.chunks else []
    size = {"width": width, "height": height, "bytes": Path(job.target).stat().st_size}
    return size | {"seconds": time.perf_counter() - began, "notes": notes}


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
    """Write the parts of a PNG, an empty one at the end, as a picture file."""
    vips = _vips()
    source = vips.SourceCustom()
    source.on_read(_reader(parts))
    try:
        image = vips.Image.new_from_source(source, "", access="sequential", fail_on="error").copy()
        for chunk, field in FIELDS.items():
            if chunk in chunks:
                image.set_type(vips.GValue.blob_type, field, chunks[chunk])
        image.write_to_file(str(path), **SETTINGS[path.suffix])
    except vips.Error as error:
        raise Error(f"the picture cannot be written: {_reason(error)}") from None


def _png(bands: Iterator[NDArray[np.uint8]], size: tuple[int, int]) -> Iterator[bytes]:
    """The parts of a PNG whose pixels are not compressed."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))

    stored = zlib.compressobj(0)
    for number, band in enumerate(bands):
        if number == 0:
            colour = 2 if band.shape[2] == 3 else 0
            yield b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, colour, 0, 0, 0))
        for top in range(0, len(band), STRIP):
            rows = band[top : top + STRIP].reshape(-1, size[0] * band.shape[2])
            yield chunk(b"IDAT", stored.compress(np.pad(rows, ((0, 0), (1, 0)))))  # every row is told to be unfiltered
    yield chunk(b"IDAT", stored.flush()) + chunk(b"IEND", b"")


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
