"""What of a picture goes into a file beside its pixels: ICC profile, EXIF and XMP, and what of them is lost."""

import re
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from lapic.bitstream.container import EXIF, ICC, MAX_METADATA, XMP
from lapic.codec.picture import colour, exif
from lapic.codec.picture.depth import DEEP_MODES

GREY_MODES = {"1", "L", "LA", "La"} | DEEP_MODES
CONVERTED_MODES = {"CMYK", "LAB"}  # into sRGB, so that their profile has no more meaning
NAMES = {ICC: "the ICC profile", EXIF: "EXIF", XMP: "XMP"}
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>)\s*)([0-9])')


@dataclass
class Metadata:
    """`chunks`: contents by the types of the container. `orientation`: 1..8, still to be applied to the pixels; the
    chunks say 1. `notes`: what is lost, each in a few words."""

    chunks: dict[bytes, bytes] = field(default_factory=dict)
    orientation: int = 1
    notes: list[str] = field(default_factory=list)


def collect(image: Image.Image, loaded: bool = True) -> Metadata:
    """The metadata of an image.

    Args:
        loaded: whether its pixels were read; Pillow has then turned those of a TIFF upright.
    """
    found = Metadata()
    grey = image.mode in GREY_MODES
    if image.mode not in CONVERTED_MODES:
        _keep(found, ICC, _profile(image, grey, found.notes))
    block, xmp = _exif(image, found.notes), _xmp(image)
    if image.format != "TIFF":
        found.orientation = exif.orientation(block) or _xmp_orientation(xmp)
    elif not loaded:
        told = getattr(image, "tag_v2", {}).get(exif.ORIENTATION)
        found.orientation = int(told) if told in range(1, 9) else 1
    if found.orientation != 1:
        block, xmp = exif.upright(block), _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    _keep(found, EXIF, _with_resolution(image, block, found.notes))
    _keep(found, XMP, xmp)
    found.notes += [f"{name} cannot be read and is left out" for name in image.info.get("unread", [])]
    return found


def _keep(found: Metadata, kind: bytes, content: bytes) -> None:
    if len(content) > MAX_METADATA:
        found.notes.append(f"{NAMES[kind]} of {len(content)} bytes is too large and left out")
    elif content:
        found.chunks[kind] = content


def _profile(image: Image.Image, grey: bool, notes: list[str]) -> bytes:
    """The ICC profile, or one of what the file tells by numbers: in the order of PNG, third edition, section 4.3."""
    told, given = image.info.get("cicp"), image.info.get("icc_profile")
    try:
        if told and (image.format == "PNG" or not given) and not _is_silent(told):
            return colour.of_cicp(told, grey) or b""
        if not given and "srgb" not in image.info:
            return colour.of_gamma(image.info.get("gamma"), image.info.get("chromaticity"), grey) or b""
    except ValueError as error:
        notes.append(f"the colour space that the file tells is left out: {error}")
    if not isinstance(given, bytes) or not given:
        return b""
    profile, note = colour.fit(given, grey)
    notes += [note] if note else []
    return profile or b""


def _is_silent(told: tuple[int, ...]) -> bool:
    return told[0] == told[1] == colour.UNSPECIFIED


def _exif(image: Image.Image, notes: list[str]) -> bytes:
    block: Any = image.info.get("exif") or b""
    if not block and image.format == "TIFF":
        block, whole = exif.of_tiff(image)
        if not whole:
            notes.append("a part of EXIF cannot be read and is left out")
    if not block:
        block = _raw_profile(image, "exif") or _raw_profile(image, "APP1")
    return block if isinstance(block, bytes) and block != exif.PREFIX else b""


def _xmp(image: Image.Image) -> bytes:
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or _raw_profile(image, "xmp")
    return xmp.encode() if isinstance(xmp, str) else xmp if isinstance(xmp, bytes) else b""


def _raw_profile(image: Image.Image, name: str) -> bytes:
    """Metadata in a PNG as text, as ImageMagick writes them: a name, a length, hexadecimal digits."""
    text = image.info.get(f"Raw profile type {name}")
    try:
        found = bytes.fromhex("".join(str(text).split("\n")[3:])) if text else b""
    except ValueError:
        return b""
    return b"" if name == "APP1" and not found.startswith(exif.PREFIX) else found


def _xmp_orientation(xmp: bytes) -> int:
    told = _XMP_ORIENTATION.search(xmp)
    return int(told[2]) if told and told[2] in b"12345678" else 1


def _with_resolution(image: Image.Image, block: bytes, notes: list[str]) -> bytes:
    """EXIF data with the resolution that the file tells elsewhere, if there are none in which it would be missed."""
    aspect = image.info.get("aspect") or (image.info.get("jfif_unit") == 0 and image.info.get("jfif_density")) or (1, 1)
    if aspect[0] != aspect[1] and all(aspect):
        notes.append(f"pixels of {aspect[0]}:{aspect[1]} become square")
    dpi = image.info.get("dpi")
    try:
        dpi = (float(dpi[0]), float(dpi[1])) if dpi else None
    except (TypeError, ValueError, ZeroDivisionError, IndexError, OverflowError):
        dpi = None
    if not dpi or not exif.is_told(dpi):
        return block
    if not block:
        return exif.of_resolution(dpi)
    kept = exif.resolution(block)
    if not kept or max(abs(a - b) for a, b in zip(kept, dpi, strict=True)) > 1:
        notes.append(f"the resolution of {dpi[0]:.0f} x {dpi[1]:.0f} dpi is not kept")
    return block
