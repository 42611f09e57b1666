"""What Pillow does not read of a picture file: true depth, CICP numbers, text, and the metadata of files whose pixels
it refuses because of them."""

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from PIL import Image

from lapic.bitstream.container import MAX_METADATA
from lapic.codec.picture import exif

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
XMP_NAME, XMP_MORE = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
PNG_XMP = b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type "
_RAW_EXIF = {_RAW_PROFILE + b"exif", _RAW_PROFILE + b"APP1"}
_KEPT_TEXT = {PNG_XMP, _RAW_PROFILE + b"xmp"} | _RAW_EXIF
_PNG_TEXT = {b"tEXt", b"zTXt", b"iTXt"}
_PNG_METADATA = _PNG_TEXT | {b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"pHYs", b"sRGB"}
_HEAD = 2**16  # bytes in which the marker of JPEG 2000 is looked for
_PNM_COMMENT = re.compile(rb"#[^\r\n]*[\r\n]?")
_PNM_PART = re.compile(rb"(?:[^\s#]|#[^\r\n]*[\r\n]?)++")


def png_chunks(source: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the contents of each complete chunk of a PNG."""
    at = len(PNG)
    while at + 12 <= len(source):
        length, chunk_type = struct.unpack_from(">I4s", source, at)
        if at + 12 + length > len(source):
            return
        yield chunk_type, at + 8, at + 8 + length
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


def _meta_box(source: bytes) -> bytes:
    """The contents of the box "meta" of an ISO base media file (AVIF, HEIF), empty if there is none."""
    at = 0
    while at + 8 <= len(source):
        size, box_type = struct.unpack_from(">I4s", source, at)
        if size == 1 and at + 16 <= len(source):
            size = struct.unpack_from(">Q", source, at + 8)[0]
        end = at + size if size else len(source)
        if box_type == b"meta":
            return bytes(source[at:end])
        if (size < 8 and size != 0) or end >= len(source):
            break
        at = end
    return b""


def cicp(source: bytes) -> tuple[int, int, int, int] | None:
    """The colour space of a PNG, AVIF or HEIF in numbers of ITU-T H.273 (CICP): colour primaries, transfer
    characteristics, matrix coefficients and full-range flag. None if the file has none."""
    if source[:8] == PNG:
        for chunk_type, start, end in png_chunks(source):
            if chunk_type == b"cICP" and end - start == 4:
                return tuple(source[start:end])  # type: ignore[return-value]
            if chunk_type == b"IDAT":
                break
    elif source[4:8] == b"ftyp":
        nclx = re.search(rb"colrnclx(.{7})", _meta_box(source), re.DOTALL)
        if nclx:
            primaries, transfer, matrix, flags = struct.unpack(">HHHB", nclx[1])
            return primaries, transfer, matrix, flags >> 7
    return None


def depth(image: Image.Image, source: bytes) -> int:
    """Bits of each channel in a file, 8 if they are unknown."""
    if source[:8] == PNG:
        return source[24] if len(source) > 24 else 8
    if source[4:8] == b"ftyp":
        pixi = re.search(rb"pixi\0{4}(.)(.)", _meta_box(source), re.DOTALL)
        return pixi[2][0] if pixi and 8 <= pixi[2][0] <= 16 else 8
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        return max((part for part in bits if isinstance(part, int)), default=8) if isinstance(bits, tuple) else 8
    if image.format == "JPEG2000":
        at = bytes(source[:_HEAD]).find(b"\xff\x4f\xff\x51")
        return (source[at + 42] & 127) + 1 if at >= 0 and at + 42 < len(source) else 8
    if image.format == "PPM":
        return 16 if source[:2] in (b"P2", b"P3", b"P5", b"P6") and _pnm_maximum(source) > 255 else 8
    if image.format == "SGI":
        return 8 * source[3]
    return 8


def _pnm_maximum(source: bytes) -> int:
    """The largest value of a PNM file that Pillow accepts: the third number of its header. By Pillow's rules CR ends a
    comment too, and a comment does not end a number."""
    parts = (_PNM_COMMENT.sub(b"", match[0]) for match in _PNM_PART.finditer(source, 2))
    return int(next(islice(filter(None, parts), 2, None), b"0"))


def unsupported(image: Image.Image, source: bytes) -> list[str]:
    """The metadata of a file that lapic does not keep, each as a short note."""
    notes = []
    if source[:8] == PNG:
        notes += _png_texts(source)
    elif source[:3] == JPEG:
        segments = [(marker, bytes(source[start : start + 40])) for marker, start, _ in jpeg_segments(source)]
        if any(marker == 0xE1 and begin.startswith(XMP_MORE) for marker, begin in segments):
            notes.append("extended XMP is not kept")
        if any(marker == 0xED and begin.startswith(b"Photoshop 3.0\0") for marker, begin in segments):
            notes.append("Photoshop and IPTC data are not kept")
        if any(marker == 0xEB for marker, _ in segments):
            notes.append("JUMBF data (such as content credentials) are not kept")
    elif image.format == "TIFF":
        names = {33723: "IPTC", 34377: "Photoshop", 33550: "GeoTIFF", 34264: "GeoTIFF", 34735: "GeoTIFF"}
        data = {names[tag] for tag in set(names) & set(getattr(image, "tag_v2", {}))}
        notes += [f"{' and '.join(sorted(data))} data are not kept"] if data else []
    if image.info.get("comment"):
        notes.append("the comment is not kept")
    return notes


def _png_texts(source: bytes) -> list[str]:
    names, others = [], []
    for chunk_type, start, end in png_chunks(source):
        if chunk_type in _PNG_TEXT:
            name = _text_name(source, start, end)
            if name == _RAW_PROFILE + b"iptc":
                others.append("IPTC data are not kept")
            elif name not in _KEPT_TEXT:
                names.append(re.sub(r"[^ -~\xa1-\xff]", "?", name.decode("latin-1"))[:40])
        elif chunk_type == b"caBX":
            others.append("content credentials are not kept")
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ([f"text is not kept: {', '.join(names[:5])}{more}"] if names else []) + others


def _text_name(source: bytes, start: int, end: int) -> bytes:
    """The keyword of a text chunk of a PNG."""
    return bytes(source[start : min(end, start + 80)]).split(b"\0")[0]


def without_metadata(source: bytes) -> tuple[bytes, dict[str, Any]] | None:
    """A file without the metadata because of which Pillow may refuse it, and these metadata with the keys of
    `Image.info`; "unread" lists the names of those that are lost. None for formats whose metadata cannot be removed."""
    if source[:8] == PNG:
        return _png_without_metadata(source)
    if source[:3] == JPEG:
        return _jpeg_without_metadata(source)
    if source[4:8] == b"ftyp":
        return re.sub(rb"(infe.{8,10})Exif", rb"\1\0\0\0\0", source, flags=re.DOTALL), {"unread": ["EXIF"]}
    if source[:4] in (b"II*\0", b"MM\0*"):
        tiff = bytearray(source)
        order = "<" if source[:1] == b"I" else ">"
        first = struct.unpack_from(order + "I", source, 4)[0]
        count = struct.unpack_from(order + "H", source, first)[0] if first + 2 <= len(source) else 0
        for at in range(first + 2, min(first + 2 + 12 * count, len(source) - 11), 12):
            if struct.unpack_from(order + "H", source, at)[0] in exif.DIRECTORIES:
                struct.pack_into(order + "H", tiff, at, 0xFFFF)
        return bytes(tiff), {"unread": ["EXIF"]}
    return None


def _jpeg_without_metadata(source: bytes) -> tuple[bytes, dict[str, Any]]:
    info: dict[str, Any] = {}
    kept, exif_parts, copied = [], [], 0
    for marker, start, end in jpeg_segments(source):
        body = source[start:end]
        if marker == 0xE1 and body.startswith(exif.PREFIX):
            exif_parts.append(body[len(exif.PREFIX) :])
        elif marker == 0xE1 and body.startswith(XMP_NAME):
            info["xmp"] = body[len(XMP_NAME) :]
        if marker in (0xE1, 0xED) or (marker == 0xE2 and body.startswith(b"MPF\0")):
            kept.append(source[copied : start - 4])
            copied = end
    if exif_parts:
        info["exif"] = exif.PREFIX + b"".join(exif_parts)
    return b"".join([*kept, source[copied:]]), info


def _png_without_metadata(source: bytes) -> tuple[bytes, dict[str, Any]]:
    kept = (source[start - 8 : end + 4] for name, start, end in png_chunks(source) if name not in _PNG_METADATA)
    return PNG + b"".join(kept), png_metadata(source)


def png_metadata(source: bytes) -> dict[str, Any]:
    """The metadata of a PNG with the keys of `Image.info`, also if Pillow refuses its text for its size; "unread" lists
    the names of damaged metadata. Of several chunks of one kind the last counts, as in Pillow."""
    info: dict[str, Any] = {}
    unread = []
    last: dict[tuple[bytes, bytes], tuple[int, int]] = {}
    for chunk_type, start, end in png_chunks(source):
        name = _text_name(source, start, end) if chunk_type in _PNG_TEXT else b""
        if chunk_type in _PNG_METADATA - _PNG_TEXT or name in _KEPT_TEXT:
            last[chunk_type, name] = start, end
    for (chunk_type, name), (start, end) in last.items():
        intact = zlib.crc32(source[start - 4 : end]) == struct.unpack_from(">I", source, end)[0]
        try:
            info |= _chunk_info(chunk_type, source[start:end]) if intact else {}
        except (ValueError, zlib.error, struct.error):
            intact = False
        if not intact and chunk_type in (b"iCCP", b"eXIf"):
            unread.append({b"iCCP": "the ICC profile", b"eXIf": "EXIF"}[chunk_type])
        elif not intact and name:
            unread.append("EXIF" if name in _RAW_EXIF else "XMP")
    return info | ({"unread": unread} if unread else {})


def _chunk_info(chunk_type: bytes, body: bytes) -> dict[str, Any]:
    """A chunk's metadata with the keys of `Image.info`. Raises ValueError, zlib.error or struct.error for bad ones."""
    if chunk_type == b"eXIf":
        return {"exif": exif.PREFIX + body}
    if chunk_type == b"iCCP":
        return {"icc_profile": _inflate(body.split(b"\0", 1)[1][1:])}
    if chunk_type in _PNG_TEXT:
        name, text = body.split(b"\0", 1)
        compressed = chunk_type == b"zTXt" or (chunk_type == b"iTXt" and text[:1] != b"\0")
        if chunk_type == b"iTXt":
            _, _, text = text[2:].split(b"\0", 2)
        elif compressed:
            text = text[1:]
        text = _inflate(text) if compressed else text
        return {"xmp": text} if name == PNG_XMP else {name.decode(): text.decode("latin-1")}
    if chunk_type == b"gAMA":
        return {"gamma": struct.unpack(">I", body)[0] / 100_000}
    if chunk_type == b"cHRM":
        return {"chromaticity": tuple(part / 100_000 for part in struct.unpack(">8I", body))}
    if chunk_type == b"sRGB":
        return {"srgb": body[0]}
    if chunk_type == b"pHYs":
        across, down, unit = struct.unpack(">IIB", body)
        return {"dpi": (across * 0.0254, down * 0.0254)} if unit == 1 else {"aspect": (across, down)}
    return {}


def _inflate(data: bytes) -> bytes:
    """A zlib stream's contents. Raises ValueError if they are larger than a .lapic file can hold."""
    stream = zlib.decompressobj()
    content = stream.decompress(data, MAX_METADATA)
    if stream.unconsumed_tail:
        raise ValueError("too large")
    return content
