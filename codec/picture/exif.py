"""EXIF data as bytes: the orientation and the resolution in them, and the directories that a TIFF has instead.

The first directory is read here, not by Pillow, whose Exif class raises many kinds of exceptions on odd data and loses
thumbnails and maker's notes when it writes. Layout: TIFF 6.0, section 2; tags: EXIF 2.32 (CIPA DC-008), section 4.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

PREFIX = b"Exif\0\0"
ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, MAKER_NOTE = 0x0112, 0x011A, 0x011B, 0x0128, 0x927C
UNKNOWN_DPI = 72  # what EXIF writes where the resolution is unknown
LARGEST_DPI = 65535  # what all formats can hold
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes of one value by its type
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d"}
_TEXT, _RATIONALS, _UNDEFINED = 2, {5: "II", 10: "ii"}, 7
# Tags of a TIFF that describe the picture and not the file: from the document's name to the copyright, XP..., rating.
TIFF_TAGS = {0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298,
             0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F}  # fmt: skip
DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


@dataclass(frozen=True)
class _Entry:
    """A tag of the first directory. `at`: where its values are in the block."""

    tag: int
    type: int
    count: int
    at: int


def _start(exif: bytes) -> int:
    """Where the TIFF header begins."""
    start = 0
    while exif.startswith(PREFIX, start) and start < 2 * len(PREFIX):
        start += len(PREFIX)
    return start


def _order(exif: bytes) -> str:
    """The byte order as struct names it, or nothing for data that are no EXIF."""
    start = _start(exif)
    return {b"II*\0": "<", b"MM\0*": ">"}.get(exif[start : start + 4], "")


def is_readable(exif: bytes) -> bool:
    """Whether data begin as EXIF does."""
    return bool(_order(exif))


def _entries(exif: bytes) -> Iterator[_Entry]:
    """The tags of the first directory as far as they are inside of the block, without those of unknown types."""
    order, start = _order(exif), _start(exif)
    if not order:
        return
    try:
        first = start + struct.unpack_from(order + "I", exif, start + 4)[0]
        count = struct.unpack_from(order + "H", exif, first)[0]
        for position in range(first + 2, first + 2 + 12 * count, 12):
            tag, value_type, values, offset = struct.unpack_from(order + "HHII", exif, position)
            size = _SIZES.get(value_type, 0) * values
            at = position + 8 if size <= 4 else start + offset
            if size and at + size <= len(exif):
                yield _Entry(tag, value_type, values, at)
    except struct.error:
        return


def _number(exif: bytes, entry: _Entry) -> float | None:
    """The first value of a tag of any type as a number, also of text such as "6". None where it is none."""
    order = _order(exif)
    if entry.type in _CODES:
        return struct.unpack_from(order + _CODES[entry.type], exif, entry.at)[0]
    if entry.type in _RATIONALS:
        above, below = struct.unpack_from(order + _RATIONALS[entry.type], exif, entry.at)
        return above / below if below else None
    text = exif[entry.at : entry.at + entry.count].strip(b"\0 ")
    return float(text) if text.isdigit() and len(text) < 10 else None


def _find(exif: bytes, tag: int) -> float | None:
    return next((_number(exif, entry) for entry in _entries(exif) if entry.tag == tag), None)


def orientation(exif: bytes) -> int:
    """The orientation 1..8, of whatever type it is; 0 where there is none that can be read."""
    value = _find(exif, ORIENTATION)
    return int(value) if value in range(1, 9) else 0


def upright(exif: bytes) -> bytes:
    """EXIF data whose orientation is 1, with all else byte for byte as it was."""
    block, order = bytearray(exif), _order(exif)
    for entry in _entries(exif):
        if entry.tag != ORIENTATION:
            continue
        if entry.type in _CODES:
            struct.pack_into(order + _CODES[entry.type], block, entry.at, 1)
        elif entry.type in _RATIONALS:
            struct.pack_into(order + _RATIONALS[entry.type], block, entry.at, 1, 1)
        else:
            block[entry.at : entry.at + entry.count] = b"1".ljust(entry.count, b"\0")
    return bytes(block)


def resolution(exif: bytes) -> tuple[float, float] | None:
    """Pixels per inch across and down. None where they are absent or unknown, see `known_resolution`."""
    unit = 2.54 if _find(exif, RESOLUTION_UNIT) == 3 else 1.0
    across, down = _find(exif, X_RESOLUTION), _find(exif, Y_RESOLUTION)
    return known_resolution(((across or down or 0) * unit, (down or across or 0) * unit))


def known_resolution(dpi: Any) -> tuple[float, float] | None:
    """Pixels per inch across and down from a pair of numbers such as Pillow's info["dpi"], of any type. None where they
    are no numbers or stand for an unknown resolution: EXIF has 72 dpi for it, and Pillow 1."""
    try:
        across, down = float(dpi[0]), float(dpi[1])
    except (TypeError, ValueError, ZeroDivisionError, IndexError, OverflowError):
        return None
    given = across, down
    known = all(1 < part <= LARGEST_DPI for part in given) and any(round(part, 1) != UNKNOWN_DPI for part in given)
    return given if known else None


def of_resolution(dpi: tuple[float, float]) -> bytes:
    """EXIF data with only a resolution in pixels per inch."""
    place = 8 + 2 + 3 * 12 + 4  # of the values that do not fit into the directory
    parts = [struct.pack(">HHII", tag, 5, 1, place + 8 * n) for n, tag in enumerate((X_RESOLUTION, Y_RESOLUTION))]
    unit = struct.pack(">HHIHH", RESOLUTION_UNIT, 3, 1, 2, 0)
    values = b"".join(struct.pack(">II", round(part * 10_000), 10_000) for part in dpi)
    return PREFIX + b"MM\0*" + struct.pack(">IH", 8, 3) + b"".join(parts) + unit + bytes(4) + values


def with_prefix(exif: bytes) -> bytes:
    """EXIF data as JPEG has them, from `Exif\\0\\0` on."""
    return PREFIX + exif[_start(exif) :]


def has_thumbnail(exif: bytes) -> bool:
    """Whether a second directory follows, which describes a thumbnail."""
    order, start = _order(exif), _start(exif)
    try:
        first = start + struct.unpack_from(order + "I", exif, start + 4)[0]
        count = struct.unpack_from(order + "H", exif, first)[0]
        return bool(order) and struct.unpack_from(order + "I", exif, first + 2 + 12 * count)[0] > 0
    except struct.error:
        return False


def _clean(given: Image.Exif) -> tuple[Image.Exif, bool]:
    """The tags that describe the picture and that Pillow can write again, and whether these are all."""
    kept, complete = Image.Exif(), True
    for tag in sorted((TIFF_TAGS | {X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT}) & set(given)):
        complete &= _copy_tag(kept, tag, given)
    for directory in DIRECTORIES:
        try:
            inner = dict(given.get_ifd(directory))
            if ExifTags.IFD.Interop in inner:
                inner[ExifTags.IFD.Interop] = dict(given.get_ifd(ExifTags.IFD.Interop))
        except Exception:  # Pillow raises many types for odd data
            complete = False
            continue
        good = {tag: value for tag, value in inner.items() if _is_writable({directory: {tag: value}})}
        complete &= len(good) == len(inner)
        if good:
            kept[directory] = good
    return kept, complete


def _copy_tag(kept: Image.Exif, tag: int, given: Image.Exif) -> bool:
    """Copy a tag into `kept`. False if it cannot be read or written."""
    try:
        value = given[tag]
    except Exception:  # Pillow raises many types for odd data
        return False
    if not _is_writable({tag: value}):
        return False
    kept[tag] = value
    return True


def _is_writable(tags: dict[int, Any]) -> bool:
    trial = Image.Exif()
    for tag, value in tags.items():
        trial[tag] = value
    try:
        trial.tobytes()
    except Exception:  # Pillow raises many types for odd data
        return False
    return True


def of_tiff(image: Image.Image) -> tuple[bytes, bool]:
    """EXIF data of a TIFF, whose own tags they are: those that describe the picture, not the file. Empty if none.

    Returns also whether all of them could be read.
    """
    try:
        kept, complete = _clean(image.getexif())
    except Exception:  # Pillow raises many types for odd data
        return b"", False
    if not known_resolution(image.info.get("dpi")):
        for tag in (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT):
            kept.pop(tag, None)
    return (kept.tobytes() if len(kept) else b""), complete


def for_tiff(exif: bytes) -> tuple[dict[int, Any], bool]:
    """EXIF data as tags of a TIFF, none where they cannot be read, and whether they are whole: a thumbnail and what is
    not of the kind that `of_tiff` takes are lost, and a maker's note is moved, so that its offsets are wrong."""
    given = Image.Exif()
    try:
        given.load(exif)
        kept, complete = _clean(given)
        complete &= MAKER_NOTE not in kept.get(ExifTags.IFD.Exif, {})
        known = TIFF_TAGS | {ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, 0x0213, *DIRECTORIES}
        complete &= set(given) <= known
        complete &= bool(kept) or {entry.tag for entry in _entries(exif)} == {ORIENTATION}
    except Exception:  # Pillow raises many types for odd data
        return {}, False
    return dict(kept), complete and not has_thumbnail(exif)
