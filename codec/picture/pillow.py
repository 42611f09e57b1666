"""Pictures in and out: Pillow images <-> planes of pixels, alpha and metadata."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from lapic.bitstream import Error
from lapic.bitstream.container import ALPHA, EXIF, ICC, XMP
from lapic.codec.picture import depth as depth_module
from lapic.codec.picture import formats, metadata, probe, reading
from lapic.codec.picture.colour import to_rgb
from lapic.codec.picture.depth import DEEP_MODES
from lapic.codec.picture.metadata import CONVERTED_MODES, GREY_MODES
from lapic.codec.picture.reading import count_frames, load_pixels
from lapic.codec.picture.saving import compose, picture_bytes

__all__ = ["compose", "format_of", "from_pil", "identify_alpha", "open_image", "picture_bytes", "read_alpha",
           "stripped", "to_pil", "unsupported"]  # fmt: skip

PLAIN_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(source: bytes, max_pixels: int | None = None) -> Image.Image:
    """`reading.open_image`; the `info` of a WebP says whether all of it is `lossless`."""
    image = reading.open_image(source, max_pixels)
    if image.format == "WEBP":
        image.info["lossless"] = _is_lossless(source)
    return image


def is_lossless_webp(image: Image.Image) -> bool:
    """Whether an image is a WebP of lossless compression. That is known of one
    that `open_image` opened, and of others as long as they are not loaded."""
    if image.format != "WEBP":
        return False
    file = getattr(image, "fp", None)
    if "lossless" in image.info or file is None or getattr(file, "closed", False):
        return image.info.get("lossless", False)
    place = file.tell()
    file.seek(0)
    source = file.read()
    file.seek(place)
    return _is_lossless(source)


def _is_lossless(source: bytes) -> bool:
    """Whether a WebP holds bitstreams of the lossless kind only, in the picture or in the frames of an animation."""
    kinds, place = set(), 12
    while place + 8 <= len(source) and source.startswith(b"RIFF"):
        kind, size = source[place : place + 4], int.from_bytes(source[place + 4 : place + 8], "little")
        kinds.add(kind)
        place += 24 if kind == b"ANMF" else 8 + size + size % 2  # a frame's chunks follow its 16 bytes
    return b"VP8L" in kinds and b"VP8 " not in kinds


def unsupported(image: Image.Image, source: bytes = b"", strip: bool = False, of_frame: bool = False) -> list[str]:
    """The features of an image that a .lapic file cannot keep, each as a short note.

    Args:
        source: the bytes of the file that it was read from, because Pillow does not read everything in it.
        strip: whether metadata are left out on purpose, and need no note.
        of_frame: whether the other frames are kept in other files.

    Raises:
        Error: the file is damaged so that its frames cannot be counted.
    """
    return unsupported_pixels(image, source) + unsupported_beyond_pixels(image, source, strip, of_frame)


def unsupported_beyond_pixels(image: Image.Image, source: bytes, strip: bool, of_frame: bool = False) -> list[str]:
    """The notes of `unsupported` about frames and metadata, for which the pixels need not be read."""
    count = 1 if of_frame else count_frames(image)
    notes = [f"only the first of {count} frames is kept: see --frames"] if count > 1 else []
    return notes if strip else notes + metadata.collect(image).notes + probe.unsupported(image, source)


def unsupported_pixels(image: Image.Image, source: bytes) -> list[str]:
    """The notes of `unsupported` about depth and mode."""
    depth = probe.depth(image, source)
    if image.mode in DEEP_MODES:
        return [depth_module.note_of(image, depth)]
    notes = [f"{depth}-bit depth becomes 8 bits"] if depth > 8 else []
    if image.mode not in PLAIN_MODES:
        notes.append(f"{image.mode} becomes RGB")
    return notes


def apply_orientation(image: Image.Image, orientation: int) -> Image.Image:
    """An image with EXIF's orientation 1..8 applied to its pixels."""
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def stripped(image: Image.Image) -> Image.Image:
    """An image without its metadata, upright; a transparent colour is kept, and a profile by which `from_pil` converts
    the pixels. One of DEEP_MODES becomes L or LA."""
    load_pixels(image)
    image = apply_orientation(image, metadata.collect(image).orientation)
    if image.mode in DEEP_MODES:  # while the tags of a TIFF tell the depth
        return depth_module.to_eight_bits(image)
    kept = ("transparency", "icc_profile") if image.mode in CONVERTED_MODES else ("transparency",)
    image = image.copy()
    image.info = {key: image.info[key] for key in kept if key in image.info}
    return image


def from_pil(image: Image.Image) -> tuple[NDArray[np.uint8], dict[bytes, bytes]]:
    """Pixels of an image of any mode, uint8 (H, W, 3) RGB or (H, W) grey, and its alpha and metadata as chunks.

    The orientation is applied to the pixels and set to 1 in the EXIF data, so that it is never applied twice. CMYK is
    converted by its profile.

    Raises whatever Pillow's readers raise if the pixels cannot be read.
    """
    load_pixels(image)
    collected = metadata.collect(image)
    image, chunks = apply_orientation(image, collected.orientation), collected.chunks
    if image.mode in ("La", "RGBa"):  # premultiplied by alpha
        image = image.convert(image.mode.upper())
    if image.mode in DEEP_MODES:
        image = depth_module.to_eight_bits(image)
    elif image.mode in CONVERTED_MODES:
        image = to_rgb(image)
    grey = image.mode in GREY_MODES
    if image.has_transparency_data:
        key = image.info.get("transparency")
        if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
            alpha = depth_module.transparent_where(image)
        else:
            image = image.convert("RGBA")
            alpha = image.getchannel("A")
        alpha.info = {}  # of the picture, which a PNG would hold once more
        chunks[ALPHA] = _png(alpha)
        image = image.convert("RGB")
        image = image.getchannel("G") if grey else image
    return np.asarray(image.convert("L" if grey else "RGB")), chunks


def to_pil(pixels: NDArray[np.uint8], alpha: Image.Image | None, chunks: dict[bytes, bytes]) -> Image.Image:
    """An image of mode L, LA, RGB or RGBA from uint8 pixels (H, W, 3) or (H, W), an alpha channel of the same size and
    the metadata in a file's chunks."""
    image = Image.fromarray(pixels)
    if image.readonly:  # it shares the memory of the pixels
        image = image.copy()
    if alpha is not None:
        image.putalpha(alpha)
    for chunk_type, key in ((ICC, "icc_profile"), (EXIF, "exif"), (XMP, "xmp")):
        if chunk_type in chunks:
            image.info[key] = chunks[chunk_type]
    return image


def read_alpha(chunks: dict[bytes, bytes], size: tuple[int, int], max_pixels: int | None = None) -> Image.Image | None:
    """The alpha channel of a file as an image of mode L and this size, if it has one.

    Raises `Error` if it is damaged or has more than `max_pixels` pixels: all of it is read, for a part too.
    """
    if ALPHA not in chunks:
        return None
    alpha = identify_alpha(chunks[ALPHA], size, max_pixels)
    with _damaged_alpha():
        alpha.load()
    return alpha


def identify_alpha(data: bytes, size: tuple[int, int], max_pixels: int | None = None) -> Image.Image:
    """The alpha channel of a file as an image of mode L and this size, whose pixels are not read yet. Raises as
    `read_alpha`."""
    if max_pixels is not None and size[0] * size[1] > max_pixels:
        raise Error(f"an alpha channel of {size[0]} x {size[1]} is more than {max_pixels} pixels: see --max-pixels")
    with _damaged_alpha():
        alpha = PngImageFile(io.BytesIO(data))  # reads the header only, and knows no limit of pixels
        depth = probe.depth(alpha, data)
    if alpha.size != size or alpha.mode != "L" or depth != 8:
        raise Error("the alpha channel is damaged: its size or mode is wrong")
    return alpha


@contextmanager
def _damaged_alpha() -> Iterator[None]:
    """Raise what Pillow raises about an alpha channel, which is of many types, as an `Error`."""
    try:
        yield
    except (Error, MemoryError):
        raise
    except Exception as error:
        raise Error(f"the alpha channel is damaged: {error}") from None


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def format_of(suffix: str) -> str:
    """Pillow's name of the format that a file name suffix such as ".png" means. Raises `Error` if there is none."""
    return formats.by_suffix(suffix).name
