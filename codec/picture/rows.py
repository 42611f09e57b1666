"""Pictures on disk row by row, by libvips (package pyvips): pixels from top to bottom, and the metadata."""

import logging
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapic.bitstream import Error
from lapic.bitstream.container import ALPHA
from lapic.codec.picture import depth, metadata, pillow, probe, reading
from lapic.codec.picture.depth import DEEP_MODES

ALPHA_NAME = "the alpha channel"  # in messages
STRIP_ROWS = 64  # rows that are read at a time
TURNS: dict[int, Callable[[Any], Any]] = {  # EXIF's orientations by libvips
    2: lambda image: image.fliphor(),
    3: lambda image: image.rot180(),
    4: lambda image: image.flipver(),
    5: lambda image: image.rot90().fliphor(),
    6: lambda image: image.rot90(),
    7: lambda image: image.rot270().fliphor(),
    8: lambda image: image.rot270(),
}
TURNED_BY_VIPS = {"AVIF", "HEIF"}  # when it reads them


class Rows:
    """A picture on disk that is cut like an array (H, W, 3) or (H, W), from top to bottom: rows above the last cut are
    dropped."""

    def __init__(self, image: Any, name: str = "the picture") -> None:
        """`image`: of libvips, of 8 bits. `name`: what messages call it."""
        self.source = vips_package().Region.new(image)
        self.name = name
        self.width = image.width
        self.shape = (image.height, image.width, 3) if image.bands == 3 else (image.height, image.width)
        self.ndim = len(self.shape)
        self.top = 0
        self.held = np.empty((0, *self.shape[1:]), np.uint8)

    def __getitem__(self, cut: tuple[slice, slice]) -> NDArray[np.uint8]:
        """Rows and columns by slices with both ends. Raises ValueError for a first row above that of the last cut."""
        rows, columns = cut
        bottom = self.top + len(self.held)
        end = min(rows.stop, self.shape[0])
        if rows.start < self.top:
            raise ValueError(f"row {rows.start} was dropped, {self.top} is the first that is held")
        if end > bottom:
            new = self._read(max(bottom, rows.start), end)
            self.held = np.concatenate([self.held[rows.start - self.top :], new])
            self.top = rows.start
        return self.held[rows.start - self.top : end - self.top, columns]

    def _read(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """The next rows from disk. Raises `Error` if the file is damaged."""
        strips = []
        for row in range(top, bottom, STRIP_ROWS):
            height = min(STRIP_ROWS, bottom - row)
            with _damaged(self.name):
                strip = self.source.fetch(0, row, self.width, height)
            strips.append(np.frombuffer(strip, np.uint8).reshape(height, *self.shape[1:]))
        return np.concatenate(strips)


@contextmanager
def _damaged(name: str) -> Iterator[None]:
    """Raise an error of libvips as an `Error` about what messages call `name`."""
    try:
        yield
    except vips_package().Error as error:
        raise Error(f"{name} is damaged: {reason_of(error)}") from None


def _alpha_image(data: bytes) -> Any:
    """An alpha channel as an image of libvips whose rows can be read once, from a chunk that `pillow.identify_alpha`
    has looked at."""
    return vips_package().Image.new_from_buffer(data, "", access="sequential", fail_on="error")[0]


def alpha_rows(data: bytes) -> Rows:
    """The rows of an alpha channel, from its chunk. They raise `Error` if it is damaged."""
    with _damaged(ALPHA_NAME):
        return Rows(_alpha_image(data), ALPHA_NAME)


def is_opaque(data: bytes) -> bool:
    """Whether an alpha channel, from its chunk, hides nothing. Raises `Error` if it is damaged."""
    with _damaged(ALPHA_NAME):
        return _alpha_image(data).min() == 255


def vips_package() -> Any:
    """The package pyvips with its log silenced: it raises the same messages."""
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    import pyvips

    return pyvips


def reason_of(error: Exception) -> str:
    """The first line of libvips' messages."""
    return (str(getattr(error, "detail", "") or error).strip().splitlines() or ["unknown reason"])[0]


def open_rows(name: str, strip: bool = False) -> tuple[Rows, dict[bytes, bytes], list[str]]:
    """A picture file's rows, its metadata as chunks, and what of it cannot be kept, each as a short note.

    Raises:
        Error: the file cannot be read.
    """
    collected, notes, deep_mode = _read_metadata(name, strip)
    vips = vips_package()
    try:
        image = _upright(name, collected.orientation)
        if image.hasalpha():
            collected.chunks[ALPHA] = _alpha_chunk(image[image.bands - 1])
            image = _upright(name, collected.orientation)  # the rows of the other are read
            image = image[: image.bands - 1]
        if deep_mode:
            image, note = _eight_bits(image, name, deep_mode)
            notes.append(note)
        image = image.colourspace("b-w" if image.bands == 1 else "srgb").cast("uchar")
    except vips.Error as error:
        raise Error(f"not a picture that libvips can read: {reason_of(error)}") from None
    return Rows(image), collected.chunks, notes


def _upright(name: str, orientation: int) -> Any:
    """A picture file as an image of libvips whose rows can be read once, turned by EXIF's orientation."""
    vips = vips_package()
    if orientation not in TURNS:
        return vips.Image.new_from_file(name, access="sequential", fail_on="error")
    return TURNS[orientation](vips.Image.new_from_file(name, fail_on="error"))  # libvips keeps all rows on disk


def _alpha_chunk(alpha: Any) -> bytes:
    """An alpha channel, an image of libvips, as a PNG of 8 bits. Raises the errors of libvips."""
    if alpha.format == "ushort":
        alpha = alpha >> 8
    return alpha.cast("uchar").copy(interpretation="b-w").pngsave_buffer(compression=9, keep="none")


def _read_metadata(name: str, strip: bool) -> tuple[metadata.Metadata, list[str], str]:
    """A picture file's metadata and what cannot be kept of it, from its header alone.

    Returns also Pillow's mode, if it is one of DEEP_MODES: then the range of the pixels is part of the note.
    """
    try:
        with Path(name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as source:
            image = reading.identify(file)
            if image.format == "PNG":
                image.info |= probe.png_metadata(source)
            cicp = probe.cicp(source)
            image.info |= {"cicp": cicp} if cicp else {}
            collected = metadata.collect(image, loaded=False)
            notes = pillow.unsupported_beyond_pixels(image, source, strip)
            if image.mode in DEEP_MODES:
                return collected, notes, image.mode
            notes += pillow.unsupported_pixels(image, source)
            if image.format in TURNED_BY_VIPS:
                collected.orientation = 1
            return collected, notes, ""
    except (Error, MemoryError):
        raise
    except Exception as error:  # Pillow's readers meet broken files with many kinds of exceptions
        raise Error(reading.reason_of(error)) from None


def _eight_bits(image: Any, name: str, mode: str) -> tuple[Any, str]:
    """A grey image of libvips with 8 bits, as `codec.picture.depth` does it, and what is lost."""
    low = high = 0.0
    if mode in ("F", "I"):  # their range decides, and takes a pass over all rows
        whole = vips_package().Image.new_from_file(name, fail_on="error")
        finite = (whole.abs() < float("inf")).ifthenelse(whole, 0)
        low, high = finite.min(), finite.max()
    zero, full, rule = depth.scale(mode, low, high)
    scaled = ((image.cast("double") - zero) * (255 / max(full - zero, 1e-9))).rint().cast("uchar")
    bits = 16 if image.format in ("short", "ushort") else 32
    return scaled.copy(interpretation="b-w"), depth.note(mode, rule, bits)
