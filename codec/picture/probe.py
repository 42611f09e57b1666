"""What Pillow does not tell of a picture file: true depth, colour space by numbers, text, and the metadata of files
whose odd metadata keep it from reading their pixels."""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

from lapic.bitstream.container import MAX_METADATA
from lapic.codec.picture import exif

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
XMP_NAME, XMP_MORE = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
PNG_XMP = b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type "
_PNG_METADATA = {b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"pHYs", b"sRGB"}
_HEAD = 2**16  # bytes in which the markers of JPEG 2000 and of PNM are looked for


def png_chunks(source: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the contents of a PNG's chunks, as far as they are whole."""
    at = len(PNG)
    while at + 12 <= len(source):
        length, kind = struct.unpack_from(">I4s", source, at)
        if at + 12 + length > len(source):
            return
        yield kind, at + 8, at + 8 + length
        at += 12 + length


def jpeg_segments(source: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the contents of the segments before a JPEG's first scan."""
    at = 2
    while at + 4 <= len(source) and source[at] == 0xFF:
        marker = source[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            return
        length = struct.unpack_from(">H", source, at + 2)[0]
        yield marker, at + 4, min(at + 2 + length, len(source))
        at += 2 + length


def _boxes(source: bytes) -> bytes:
    """The contents of the box "meta" of an ISO base media file (AVIF, HEIF), empty if there is none."""
    at = 0
    while at + 8 <= len(source):
        size, kind = struct.unpack_from(">I4s", source, at)
        if size == 1 and at + 16 <= len(source):
            size = struct.unpack_from(">Q", source, at + 8)[0]
        end = at + size if size else len(source)
        if kind == b"meta":
            return bytes(source[at:end])
        if (size < 8 and size != 0) or end >= len(source):
            break
        at = end
    return b""


def cicp(source: bytes) -> tuple[int, int, int, int] | None:
    """The numbers of ITU-T H.273 that tell a PNG's, AVIF's or HEIF's colour space: colour primaries, transfer
    characteristics, matrix coefficients and full-range flag."""
    if source[:8] == PNG:
        for kind, start, end in png_chunks(source):
            if kind == b"cICP" and end - start == 4:
                return tuple(source[start:end])  # type: ignore[return-value]
            if kind == b"IDAT":
                break
    elif source[4:8] == b"ftyp":
        found = re.search(rb"colrnclx(.{7})", _boxes(source), re.DOTALL)
        if found:
            primaries, transfer, matrix, flags = struct.unpack(">HHHB", found[1])
            return primaries, transfer, matrix, flags >> 7
    return None


def depth(image: Image.Image, source: bytes) -> int:
    """Bits of each channel in a file, 8 where nothing tells it."""
    if source[:8] == PNG:
        return source[24] if len(source) > 24 else 8
    if source[4:8] == b"ftyp":
        found = re.search(rb"pixi\0{4}(.)(.)", _boxes(source), re.DOTALL)
        return found[2][0] if found and 8 <= found[2][0] <= 16 else 8
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        return max((part for part in bits if isinstance(part, int)), default=8) if isinstance(bits, tuple) else 8
    if image.format == "JPEG2000":
        at = bytes(source[:_HEAD]).find(b"\xff\x4f\xff\x51")
        return (source[at + 42] & 127) + 1 if at >= 0 and at + 42 < len(source) else 8
    if image.format == "PPM":
        found = re.match(rb"P[2356]\s(?:\s*(?:#[^\n]*\n\s*)*\d+){2}\s+(?:#[^\n]*\n\s*)*(\d+)", bytes(source[:_HEAD]))
        return 16 if found and int(found[1]) > 255 else 8
    if image.format == "SGI":
        return 8 * source[3]
    return 8


def left_out(image: Image.Image, source: bytes) -> list[str]:
    """What a file has beside its pixels that is not taken, each in a few words."""
    found = []
    if source[:8] == PNG:
        found += _png_texts(source)
    elif source[:3] == JPEG:
        segments = [(marker, bytes(source[start : start + 40])) for marker, start, _ in jpeg_segments(source)]
        if any(marker == 0xE1 and begin.startswith(XMP_MORE) for marker, begin in segments):
            found.append("extended XMP is not kept")
        if any(marker == 0xED and begin.startswith(b"Photoshop 3.0\0") for marker, begin in segments):
            found.append("Photoshop and IPTC data are not kept")
        if any(marker == 0xEB for marker, _ in segments):
            found.append("JUMBF data (such as content credentials) are not kept")
    elif image.format == "TIFF":
        named = {33723: "IPTC", 34377: "Photoshop", 33550: "GeoTIFF", 34264: "GeoTIFF", 34735: "GeoTIFF"}
        data = {named[tag] for tag in set(named) & set(getattr(image, "tag_v2", {}))}
        found += [f"{' and '.join(sorted(data))} data are not kept"] if data else []
    if image.info.get("comment"):
        found.append("the comment is not kept")
    return found


def _png_texts(source: bytes) -> list[str]:
    names, others = [], []
    for kind, start, end in png_chunks(source):
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            name = source[start : min(end, start + 80)].split(b"\0")[0]
            if name != PNG_XMP and not name.startswith(_RAW_PROFILE):
                names.append(re.sub(r"[^ -~\xa1-\xff]", "?", name.decode("latin-1"))[:40])
            elif name == _RAW_PROFILE + b"iptc":
                others.append("IPTC data are not kept")
        elif kind == b"caBX":
            others.append("content credentials are not kept")
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ([f"text is not kept: {', '.join(names[:5])}{more}"] if names else []) + others


def eased(source: bytes) -> tuple[bytes, dict[str, Any]] | None:
    """A file without the metadata that may keep Pillow from reading it, and these metadata as `Image.info` has them.
    "unread" in them lists what was given up. None for formats whose metadata cannot be taken out."""
    if source[:8] == PNG:
        return _eased_png(source)
    if source[:3] == JPEG:
        return _eased_jpeg(source)
    if source[4:8] == b"ftyp":
        made = re.sub(rb"(infe.{8,10})Exif", rb"\1\0\0\0\0", source, flags=re.DOTALL)
        return made, {"unread": ["EXIF"]}
    if source[:4] in (b"II*\0", b"MM\0*"):
        made = bytearray(source)
        order = "<" if source[:1] == b"I" else ">"
        first = struct.unpack_from(order + "I", source, 4)[0]
        count = struct.unpack_from(order + "H", source, first)[0] if first + 2 <= len(source) else 0
        for at in range(first + 2, min(first + 2 + 12 * count, len(source) - 11), 12):
            if struct.unpack_from(order + "H", source, at)[0] in exif.DIRECTORIES:
                struct.pack_into(order + "H", made, at, 0xFFFF)
        return bytes(made), {"unread": ["EXIF"]}
    return None


def _eased_jpeg(source: bytes) -> tuple[bytes, dict[str, Any]]:
    info: dict[str, Any] = {}
    made, done = b"", 0
    for marker, start, end in jpeg_segments(source):
        body = source[start:end]
        if marker == 0xE1 and body.startswith(exif.PREFIX):
            info["exif"] = info.get("exif", exif.PREFIX) + body[len(exif.PREFIX) :]
        elif marker == 0xE1 and body.startswith(XMP_NAME):
            info["xmp"] = body[len(XMP_NAME) :]
        if marker in (0xE1, 0xED) or (marker == 0xE2 and body.startswith(b"MPF\0")):
            made += source[done : start - 4]
            done = end
    return made + source[done:], info


def _eased_png(source: bytes) -> tuple[bytes, dict[str, Any]]:
    kept = (source[start - 8 : end + 4] for kind, start, end in png_chunks(source) if kind not in _PNG_METADATA)
    return PNG + b"".join(kept), png_metadata(source)


def png_metadata(source: bytes) -> dict[str, Any]:
    """The metadata of a PNG as `Image.info` has them, also of one whose text Pillow refuses for its size, and in
    "unread" what is damaged."""
    info: dict[str, Any] = {}
    unread = []
    for kind, start, end in png_chunks(source):
        if kind not in _PNG_METADATA:
            continue
        whole = zlib.crc32(source[start - 4 : end]) == struct.unpack_from(">I", source, end)[0]
        try:
            info |= _of_chunk(kind, source[start:end]) if whole else {}
        except (ValueError, zlib.error, struct.error):
            whole = False
        if not whole and kind in (b"iCCP", b"eXIf"):
            unread.append({b"iCCP": "the ICC profile", b"eXIf": "EXIF"}[kind])
        elif not whole and source[start:end].startswith(PNG_XMP):
            unread.append("XMP")
    return info | ({"unread": unread} if unread else {})


def _of_chunk(kind: bytes, body: bytes) -> dict[str, Any]:
    """A chunk's metadata as `Image.info` has them. Raises ValueError or zlib.error for what is damaged or too large."""
    if kind == b"eXIf":
        return {"exif": exif.PREFIX + body}
    if kind == b"iCCP":
        return {"icc_profile": _inflate(body.split(b"\0", 1)[1][1:])}
    if kind == b"iTXt" and body.startswith(PNG_XMP + b"\0"):
        _, _, text = body[len(PNG_XMP) + 3 :].split(b"\0", 2)
        return {"xmp": _inflate(text) if body[len(PNG_XMP) + 1] else text}
    if kind == b"gAMA":
        return {"gamma": struct.unpack(">I", body)[0] / 100_000}
    if kind == b"cHRM":
        return {"chromaticity": tuple(part / 100_000 for part in struct.unpack(">8I", body))}
    if kind == b"sRGB":
        return {"srgb": body[0]}
    if kind == b"pHYs":
        across, down, unit = struct.unpack(">IIB", body)
        return {"dpi": (across * 0.0254, down * 0.0254)} if unit == 1 else {"aspect": (across, down)}
    return {}


def _inflate(data: bytes) -> bytes:
    """A zlib stream's contents. Raises ValueError if they are larger than a file of ours can hold."""
    stream = zlib.decompressobj()
    found = stream.decompress(data, MAX_METADATA)
    if stream.unconsumed_tail:
        raise ValueError("too large")
    return found
