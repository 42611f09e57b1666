"""Images as picture files, with the metadata that the format can hold, and notes about what it cannot."""

import io
import secrets
import struct
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageColor, TiffTags
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from lapic.bitstream import Error
from lapic.codec.picture import colour, exif, formats, probe
from lapic.codec.picture.formats import Format

QUALITY = 95  # of lossy formats
LARGEST_ICON = 256
_TIFF_XMP = 700
_NAMES = {"icc_profile": "the ICC profile", "exif": "EXIF", "xmp": "XMP"}


def picture_bytes(image: Image.Image, suffix: str, background: str = "white") -> tuple[bytes, list[str]]:
    """The bytes of a picture file of an image, in the format of a file name suffix, with the metadata in its `info`.

    Args:
        image: of mode L, LA, RGB or RGBA. suffix: such as ".png".
        background: the colour behind transparent pixels, as Pillow names it, if the format has no alpha.

    Returns:
        The bytes, and what of the image is lost, each as a short note.

    Raises:
        Error: Pillow cannot write that format, or the format cannot hold the image.
        ValueError: the colour is unknown.
    """
    form = formats.by_suffix(suffix)
    notes: list[str] = []
    info = {key: image.info[key] for key in _NAMES if image.info.get(key)}
    image = _to_mode_of(form, image, background, notes)
    if suffix.lower() == ".pgm" and image.mode != "L":
        raise Error("the picture has colours, which .pgm cannot hold: use .ppm")
    kept, metadata_notes = fitting_metadata(info, form, image.mode in ("L", "LA"))
    notes += metadata_notes
    for left_out in ([], ["exif"], ["exif", "xmp"], list(_NAMES)):
        try:
            data, save_notes = _save(image, form, {key: value for key, value in kept.items() if key not in left_out})
        except MemoryError:
            raise
        except Exception as error:  # Pillow's writers raise many types for odd metadata
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if not set(_NAMES) & set(kept) - set(left_out):
                raise Error(f"the picture cannot be written as {form.name}: {reason}") from None
            continue
        lost = [f"{_NAMES[key]} cannot be written as {form.name} and is left out" for key in left_out if key in kept]
        return data, notes + save_notes + lost
    raise AssertionError("the last trial is without metadata")


def unsupported_metadata(info: dict[str, Any], form: Format) -> list[str]:
    """What of ICC profile, EXIF and XMP, by their keys in `Image.info`, a format cannot hold, each as a short note."""
    notes = []
    for key, limit in (("icc_profile", form.icc), ("exif", form.exif), ("xmp", form.xmp)):
        size = len(info.get(key) or b"")
        if size and not limit:
            notes.append(f"{_NAMES[key]} is left out: {form.name} has no place for it")
        elif size > limit:
            notes.append(f"{_NAMES[key]} of {size} bytes is left out: {form.name} holds at most {limit}")
    return notes


def fitting_metadata(info: dict[str, Any], form: Format, grey: bool) -> tuple[dict[str, Any], list[str]]:
    """What of ICC profile, EXIF and XMP, by their keys in `Image.info`, a format can hold for pixels that are grey or
    RGB, and notes about what is lost. EXIF begins as in JPEG; "dpi" is added for a resolution outside of EXIF."""
    info, notes = dict(info), []
    dpi = None
    if "exif" in info:
        info["exif"] = exif.with_prefix(info["exif"])
        dpi = exif.resolution(info["exif"])
        if dpi and info["exif"] == exif.of_resolution(dpi) and (form.resolution or not form.exif):
            del info["exif"]
            notes += [] if form.resolution else [f"the resolution is left out: {form.name} has no place for it"]
    if "icc_profile" in info:
        profile, note = colour.fit(info["icc_profile"], grey)
        notes += [note] if note and form.icc else []
        info["icc_profile"] = profile or b"" if form.icc else info["icc_profile"]
    notes += unsupported_metadata(info, form)
    limits = {"icc_profile": form.icc, "exif": form.exif, "xmp": form.xmp}
    kept = {key: value for key, value in info.items() if value and len(value) <= limits[key]}
    return kept | ({"dpi": dpi} if dpi and form.resolution else {}), notes


def png_chunk(chunk_type: bytes, body: bytes) -> bytes:
    """A chunk of a PNG: length, type, body and checksum."""
    checksum = zlib.crc32(body, zlib.crc32(chunk_type))
    return struct.pack(">I", len(body)) + chunk_type + body + struct.pack(">I", checksum)


def metadata_segments(suffix: str, exif_data: bytes | None, xmp: bytes | None) -> bytes:
    """EXIF and XMP as chunks of a PNG or segments of a JPEG."""
    if suffix == ".png":
        parts = [(b"eXIf", exif_data[len(exif.PREFIX) :])] if exif_data else []
        parts += [(b"iTXt", probe.PNG_XMP + bytes(5) + xmp)] if xmp else []
        return b"".join(png_chunk(chunk_type, body) for chunk_type, body in parts)
    bodies = [body for body in (exif_data, xmp and probe.XMP_NAME + xmp) if body]
    return b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in bodies)


def _to_mode_of(form: Format, image: Image.Image, background: str, notes: list[str]) -> Image.Image:
    """The image in a mode that the format can hold."""
    if image.mode in ("LA", "RGBA") and not form.alpha:
        alpha = image.getchannel("A")
        if alpha.getextrema() == (255, 255):
            image = image.convert(image.mode[:-1])
        else:
            notes.append(note_of_composing(form, background))
            image = compose(image, background)
    if image.mode not in form.modes:
        image = image.convert({"L": "RGB", "LA": "RGBA"}.get(image.mode, image.mode))
    return image


def note_of_composing(form: Format, background: str) -> str:
    """What to say of a picture that is composed on a colour, since its format has no alpha."""
    return f"{form.name} has no alpha: composed on {background}"


def compose(image: Image.Image, background: str) -> Image.Image:
    """An image of mode LA or RGBA over a colour, as L or RGB. Raises ValueError if the colour is unknown."""
    red, green, blue = ImageColor.getrgb(background)[:3]
    composed = Image.new("RGBA", image.size, (red, green, blue, 255))
    composed.alpha_composite(image.convert("RGBA"))
    grey = image.mode == "LA" and red == green == blue
    return composed.convert("RGB").getchannel("G") if grey else composed.convert("RGB")


def _save(image: Image.Image, form: Format, kept: dict[str, Any]) -> tuple[bytes, list[str]]:
    """The bytes of a file with these metadata, and what is lost, each as a short note."""
    options: dict[str, Any] = {"icc_profile": None} | kept  # None: not the one in the image's `info`
    notes: list[str] = []
    if form.name in {"JPEG", "MPO", "WEBP", "AVIF", "JXL", "HEIF", "PDF"}:
        options["quality"] = QUALITY
    finish: Callable[[bytes], bytes] = bytes
    if form.name == "PNG" and kept.get("xmp"):
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add(b"iTXt", probe.PNG_XMP + bytes(5) + kept["xmp"])
    elif form.name == "TIFF":
        options = {key: value for key, value in options.items() if key not in ("exif", "xmp")}
        options |= _tiff_options(kept, notes)
    elif form.name == "AVIF" and kept.get("exif"):
        options["exif"], finish = _with_placeholder(kept["exif"])
    elif form.name == "GIF":
        image = _for_gif(image, notes)
    elif form.name == "ICO":
        shrink = max(*image.size, LARGEST_ICON) / LARGEST_ICON
        options["sizes"] = [(max(1, round(image.width / shrink)), max(1, round(image.height / shrink)))]
    out = io.BytesIO()
    image.save(out, form.name, **options)
    data = finish(out.getvalue())
    if form.name in {"ICO", "ICNS"}:
        with Image.open(io.BytesIO(data)) as written:
            if written.size != image.size:
                notes.append(f"{form.name} holds {written.width} x {written.height} of {image.width} x {image.height}")
    return data, notes


def _tiff_options(kept: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """EXIF and XMP as tags of a TIFF."""
    tags: dict[int, Any] = {}
    if kept.get("exif"):
        tags, complete = exif.for_tiff(kept["exif"])
        if not tags and not complete:
            notes.append("EXIF cannot become tags of TIFF and is left out")
        elif not complete:
            notes.append("EXIF becomes tags of TIFF: thumbnail, maker's note and unusual tags are not kept whole")
    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
    if kept.get("xmp"):
        directory.tagtype[_TIFF_XMP] = TiffTags.BYTE
        directory[_TIFF_XMP] = kept["xmp"]
    return {"tiffinfo": directory}


def _with_placeholder(block: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """A placeholder of the same length as EXIF data, and a function that replaces it by them in the written file:
    Pillow's writer of AVIF would rewrite them, and lose tags that it does not know."""
    body = block[len(exif.PREFIX) :]
    empty = b"II*\0\x08\0\0\0" + bytes(6)  # a directory without tags
    if not exif.is_readable(block) or len(body) < len(empty) + 16:
        return block, bytes
    holder = empty + secrets.token_bytes(16) + bytes(len(body) - len(empty) - 16)

    def finish(data: bytes) -> bytes:
        if data.count(holder) != 1:
            raise ValueError("EXIF cannot be put into the file")
        return data.replace(holder, body)

    return holder, finish


def _for_gif(image: Image.Image, notes: list[str]) -> Image.Image:
    """The image without half-transparent pixels; what a GIF loses is added to the notes."""
    if image.mode == "RGBA":
        alpha = image.getchannel("A")
        if any(alpha.histogram()[1:255]):
            notes.append("GIF has no half-transparent pixels")
            image = image.copy()
            image.putalpha(alpha.point(lambda value: 255 if value >= 128 else 0))
    if image.mode != "L" and image.convert("RGB").getcolors(256) is None:
        notes.append("GIF holds 256 colours")
    return image
