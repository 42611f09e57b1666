"""Pictures on disk row by row, by libvips (package pyvips): pixels from top to bottom, with what small ones keep."""

import logging
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapic.bitstream import Error
from lapic.codec.picture import depth, metadata, peek, pillow, reading
from lapic.codec.picture.depth import DEEP_MODES

STRIP = 64  # rows that are read at a time
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
    forgotten."""

    def __init__(self, image: Any) -> None:
        self.source = vips_package().Region.new(image)
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
            except vips_package().Error as error:
                raise Error(f"the picture is damaged: {reason_of(error)}") from None
            strips.append(np.frombuffer(strip, np.uint8).reshape(height, *self.shape[1:]))
        return np.concatenate(strips)


def vips_package() -> Any:
    """The package pyvips, told to raise what it would otherwise print as well."""
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    import pyvips

    return pyvips


def reason_of(error: Exception) -> str:
    """The first line of libvips' messages."""
    return (str(getattr(error, "detail", "") or error).strip().splitlines() or ["unknown reason"])[0]


def open_rows(name: str, strip: bool = False) -> tuple[Rows, dict[bytes, bytes], list[str]]:
    """A picture file's rows, the chunks of its metadata, and what of it cannot be kept."""
    found, notes, deep = _beside_pixels(name, strip)
    vips = vips_package()
    try:
        image = vips.Image.new_from_file(name, access="sequential", fail_on="error")
        if found.orientation in TURNS:
            whole = vips.Image.new_from_file(name, fail_on="error")  # turning needs all, which libvips keeps on disk
            image = TURNS[found.orientation](whole)
        if image.hasalpha():
            image = image[: image.bands - 1]
            notes.append("alpha is left out of so large a picture")
        if deep:
            image, note = _eight_bits(image, name, deep)
            notes.append(note)
        image = image.colourspace("b-w" if image.bands == 1 else "srgb").cast("uchar")
    except vips.Error as error:
        raise Error(f"not a picture that libvips can read: {reason_of(error)}") from None
    return Rows(image), found.chunks, notes


def _beside_pixels(name: str, strip: bool) -> tuple[metadata.Metadata, list[str], str]:
    """A picture file's metadata and what cannot be kept of it, as for small ones, by its header alone.

    Returns also Pillow's mode, if its pixels have more than 8 bits and their range decides what becomes of them.
    """
    try:
        with Path(name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as source:
            image = reading.identify(file)
            if image.format == "PNG":
                image.info |= peek.png_metadata(source)
            told = peek.cicp(source)
            image.info |= {"cicp": told} if told else {}
            found = metadata.collect(image, loaded=False)
            notes = pillow.losses_beside_pixels(image, source, strip)
            if image.mode in DEEP_MODES:
                return found, notes, image.mode
            notes += pillow.losses_of_pixels(image, source)
            if image.format in TURNED_BY_VIPS:
                found.orientation = 1
            return found, notes, ""
    except (Error, MemoryError):
        raise
    except Exception as error:  # Pillow's readers meet broken files with many kinds of exceptions
        raise Error(reading.reason_of(error)) from None


def _eight_bits(image: Any, name: str, mode: str) -> tuple[Any, str]:
    """A grey image of libvips with 8 bits, as `codec.picture.depth` does it, and what is lost."""
    low = high = 0.0
    if mode in ("F", "I"):  # their range decides, which needs a pass over all
        whole = vips_package().Image.new_from_file(name, fail_on="error")
        low, high = whole.min(), whole.max()
    zero, full, told = depth.scale(mode, low, high)
    scaled = ((image.cast("double") - zero) * (255 / max(full - zero, 1e-9))).rint().cast("uchar")
    return scaled.copy(interpretation="b-w"), depth.words(mode, told, 16 if image.format in ("short", "ushort") else 32)
