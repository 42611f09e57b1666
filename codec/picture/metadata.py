"""The metadata of a picture as chunks of a .lapic file: ICC profile, EXIF and XMP, and what of them is lost."""

import re
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from lapic.bitstream.container import EXIF, ICC, MAX_METADATA, XMP, as_bytes
from lapic.codec.picture import colour, exif
from lapic.codec.picture.depth import DEEP_MODES, to_eight_bits

GREY_MODES = {"1", "L", "LA", "La"} | DEEP_MODES
CONVERTED_MODES = {"CMYK", "LAB"}  # into sRGB, so that their profile has no more meaning
SOURCES = {  # the keys of an image's `info` from which each of the metadata is taken
    "icc_profile": ("icc_profile", "cicp", "gamma", "chromaticity"),
    "exif": ("exif", "Raw profile type exif", "Raw profile type APP1"),
    "xmp": ("xmp", "XML:com.adobe.xmp", "Raw profile type xmp"),
}
NAMES = {ICC: "the ICC profile", EXIF: "EXIF", XMP: "XMP"}
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>)\s*)([0-9])')


@dataclass
class Metadata:
    """`chunks`: contents by the types of the container. `orientation`: 1..8, still to be applied to the pixels; the
    chunks say 1. `notes`: what is lost, each as a short note."""

    chunks: dict[bytes, bytes] = field(default_factory=dict)
    orientation: int = 1
    notes: list[str] = field(default_factory=list)


def collect(image: Image.Image, loaded: bool = True) -> Metadata:
    """The metadata of an image.

    Args:
        loaded: whether its pixels were read; Pillow then has applied the orientation of a TIFF.
    """
    result = Metadata()
    grey = image.mode in GREY_MODES
    if image.mode not in CONVERTED_MODES:
        _add_chunk(result, ICC, _profile(image, grey, result.notes))
    block, xmp = _exif(image, result.notes), _xmp(image)
    if image.format != "TIFF":
        result.orientation = exif.orientation(block) or _xmp_orientation(xmp)
    elif not loaded:
        value = getattr(image, "tag_v2", {}).get(exif.ORIENTATION)
        result.orientation = int(value) if value in range(1, 9) else _xmp_orientation(xmp)
    if result.orientation != 1:
        block, xmp = exif.upright(block), _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    _add_chunk(result, EXIF, _with_resolution(image, block, result.notes))
    _add_chunk(result, XMP, xmp)
    result.notes += [f"{name} cannot be read and is left out" for name in image.info.get("unread", [])]
    return result


def with_replaced(image: Image.Image, contents: dict[str, bytes]) -> Image.Image:
    """A copy of an image with other metadata, "icc_profile", "exif" or "xmp", which are left out where empty. An empty
    profile leaves one by which the pixels are converted, and an image of DEEP_MODES becomes L or LA."""
    if image.mode in DEEP_MODES:  # whose depth the tags of a TIFF tell
        copied = to_eight_bits(image)
        copied.info = {key: value for key, value in image.info.items() if key != "transparency"}
    else:
        copied = image.copy()
    if image.format == "TIFF":  # a copy has no tags
        copied.info["exif"] = _exif(image, [])
    for name, content in contents.items():
        if name == "icc_profile" and not content and image.mode in CONVERTED_MODES:
            continue
        for key in SOURCES[name]:
            copied.info.pop(key, None)
        if name == "exif" and not content:
            copied.info.pop("dpi", None)  # of which an EXIF would be made
        copied.info[name] = content
    return copied


def _add_chunk(result: Metadata, chunk_type: bytes, content: bytes) -> None:
    if len(content) > MAX_METADATA:
        result.notes.append(f"{NAMES[chunk_type]} of {len(content)} bytes is too large and left out")
    elif content:
        result.chunks[chunk_type] = content


def _profile(image: Image.Image, grey: bool, notes: list[str]) -> bytes:
    """The ICC profile, or one made from cICP or from gAMA and cHRM: in the order of PNG, third edition, section 4.3."""
    cicp, given = image.info.get("cicp"), _content(image, "icc_profile")
    try:
        if cicp and (image.format == "PNG" or not given) and not _is_unspecified(cicp):
            return colour.of_cicp(cicp, grey) or b""
        if not given and "srgb" not in image.info:
            return colour.of_gamma(image.info.get("gamma"), image.info.get("chromaticity"), grey) or b""
    except ValueError as error:
        notes.append(f"the colour space is left out: {error}")
    if not given:
        return b""
    profile, note = colour.fit(given, grey)
    notes += [note] if note else []
    return profile or b""


def _is_unspecified(cicp: tuple[int, ...]) -> bool:
    return cicp[0] == cicp[1] == colour.UNSPECIFIED


def _exif(image: Image.Image, notes: list[str]) -> bytes:
    block = _content(image, "exif")
    if not block and image.format == "TIFF":
        block, complete = exif.of_tiff(image)
        if not complete:
            notes.append("a part of EXIF cannot be read and is left out")
    if not block:
        block = _raw_profile(image, "exif") or _raw_profile(image, "APP1")
    return block if block != exif.PREFIX else b""


def _xmp(image: Image.Image) -> bytes:
    for key in ("xmp", "XML:com.adobe.xmp"):
        text = image.info.get(key)
        xmp = text.encode() if isinstance(text, str) else _content(image, key)
        if xmp:
            return xmp
    return _raw_profile(image, "xmp")


def _content(image: Image.Image, key: str) -> bytes:
    """The bytes in an image's `info`, none where it has something else."""
    content: Any = image.info.get(key)
    return as_bytes(content) if isinstance(content, bytes | bytearray | memoryview) else b""


def _raw_profile(image: Image.Image, name: str) -> bytes:
    """Metadata in a PNG as text, as ImageMagick writes them: a name, a length, hexadecimal digits."""
    text = image.info.get(f"Raw profile type {name}")
    try:
        content = bytes.fromhex("".join(str(text).split("\n")[3:])) if text else b""
    except ValueError:
        return b""
    return b"" if name == "APP1" and not content.startswith(exif.PREFIX) else content


def _xmp_orientation(xmp: bytes) -> int:
    match = _XMP_ORIENTATION.search(xmp)
    return int(match[2]) if match and match[2] in b"12345678" else 1


def _with_resolution(image: Image.Image, block: bytes, notes: list[str]) -> bytes:
    """The EXIF data, or if there are none, EXIF data with the resolution that the file has elsewhere."""
    aspect = image.info.get("aspect") or (image.info.get("jfif_unit") == 0 and image.info.get("jfif_density")) or (1, 1)
    if aspect[0] != aspect[1] and all(aspect):
        notes.append(f"pixels of {aspect[0]}:{aspect[1]} become square")
    dpi = exif.known_resolution(image.info.get("dpi"))
    if not dpi:
        return block
    if not block:
        return exif.of_resolution(dpi)
    kept = exif.resolution(block)
    if not kept or max(abs(a - b) for a, b in zip(kept, dpi, strict=True)) > 1:
        notes.append(f"the resolution of {dpi[0]:.0f} x {dpi[1]:.0f} dpi is not kept")
    return block
