"""Pictures in and out: Pillow images <-> planes of pixels, alpha and metadata."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from lapic.bitstream import Error
from lapic.bitstream.container import ALPHA, EXIF, ICC, XMP
from lapic.codec.picture import depth as depth_module
from lapic.codec.picture import formats, metadata, peek
from lapic.codec.picture.colour import to_rgb
from lapic.codec.picture.depth import DEEP_MODES
from lapic.codec.picture.metadata import CONVERTED_MODES, GREY_MODES
from lapic.codec.picture.reading import count_frames, load_pixels, open_image
from lapic.codec.picture.saving import compose, write_picture

__all__ = ["compose", "cut", "format_of", "losses", "open_image", "put_together", "read_alpha", "save_bytes",
           "stripped", "take_apart", "write_picture"]  # fmt: skip

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


def losses(image: Image.Image, source: bytes = b"", strip: bool = False, of_frame: bool = False) -> list[str]:
    """What encoding cannot keep of an image, each in a few words.

    Args:
        source: the file that it was read from: Pillow does not tell all that is in one.
        strip: whether metadata are left out anyway.
        of_frame: whether the other frames are kept elsewhere.

    Raises:
        Error: the file is damaged so that its frames cannot be counted.
    """
    beside = losses_beside_pixels(image, source, strip, of_frame)
    return losses_of_pixels(image, source) + beside


def losses_beside_pixels(image: Image.Image, source: bytes, strip: bool, of_frame: bool = False) -> list[str]:
    """What `losses` says of all but an image's pixels, which need not be read for it."""
    count = 1 if of_frame else count_frames(image)
    found = [f"only the first of {count} frames is kept: see --frames"] if count > 1 else []
    return found if strip else found + metadata.collect(image).notes + peek.left_out(image, source)


def losses_of_pixels(image: Image.Image, source: bytes) -> list[str]:
    """What `losses` says of an image's pixels."""
    depth = peek.depth(image, source)
    if image.mode in DEEP_MODES:
        return [depth_module.rule(image, depth)]
    found = [f"{depth}-bit depth becomes 8 bits"] if depth > 8 else []
    if image.mode not in PLAIN_MODES:
        found.append(f"{image.mode} becomes RGB")
    return found


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """An image turned or mirrored as EXIF's orientation 1..8 says."""
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def stripped(image: Image.Image) -> Image.Image:
    """An image without its metadata, turned upright; what is transparent stays so."""
    load_pixels(image)
    image = turned(image, metadata.collect(image).orientation).copy()
    image.info = {key: image.info[key] for key in ("transparency",) if key in image.info}
    return image


def take_apart(image: Image.Image) -> tuple[NDArray[np.uint8], dict[bytes, bytes]]:
    """An image of any mode as pixels, (H, W, 3) RGB or (H, W) grey, and the chunks that keep its alpha and metadata.

    The orientation is applied to the pixels and set to 1 in the EXIF data, so that it is never applied twice. CMYK is
    converted by its profile.
    """
    load_pixels(image)
    found = metadata.collect(image)
    image, chunks = turned(image, found.orientation), found.chunks
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
        chunks[ALPHA] = _png(alpha)
        image = image.convert("RGB")
        image = image.getchannel("G") if grey else image
    return np.asarray(image.convert("L" if grey else "RGB")), chunks


def put_together(pixels: NDArray[np.uint8], alpha: Image.Image | None, chunks: dict[bytes, bytes]) -> Image.Image:
    """Pixels (H, W, 3) or (H, W), alpha of the same size and metadata as an image of mode L, LA, RGB or RGBA."""
    image = Image.fromarray(pixels)
    if alpha is not None:
        image.putalpha(alpha)
    for kind, key in ((ICC, "icc_profile"), (EXIF, "exif"), (XMP, "xmp")):
        if kind in chunks:
            image.info[key] = chunks[kind]
    return image


def read_alpha(chunks: dict[bytes, bytes], size: tuple[int, int], max_pixels: int | None = None) -> Image.Image | None:
    """The alpha channel of a file as an image of mode L and this size, if it has one.

    Raises `Error` if it is damaged or has more than `max_pixels` pixels: all of it is read, for a part too.
    """
    if ALPHA not in chunks:
        return None
    if max_pixels is not None and size[0] * size[1] > max_pixels:
        raise Error(f"an alpha channel of {size[0]} x {size[1]} is more than {max_pixels} pixels: see --max-pixels")
    try:
        alpha = PngImageFile(io.BytesIO(chunks[ALPHA]))  # reads the header only, and knows no limit of pixels
        if alpha.size != size or alpha.mode != "L":
            raise Error("the alpha channel is damaged: its size or kind is wrong")
        alpha.load()
    except (Error, MemoryError):
        raise
    except Exception as error:  # of many kinds
        raise Error(f"the alpha channel is damaged: {error}") from None
    return alpha


def cut(alpha: Image.Image, crop: tuple[int, int, int, int] | None, size: tuple[int, int]) -> Image.Image:
    """The part (x, y, width, height) of an alpha channel, all of it for None, averaged down to `size`."""
    x, y, width, height = crop or (0, 0, *alpha.size)
    return alpha.resize(size, Image.Resampling.BOX, box=(x, y, x + width, y + height))


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def format_of(suffix: str) -> str:
    """Pillow's name of the format that a file name suffix such as ".png" means. Raises `Error` if there is none."""
    return formats.of(suffix).name


def save_bytes(image: Image.Image, suffix: str, background: str = "white") -> bytes:
    """An image as a file of the format that belongs to a file name suffix, with its metadata: `write_picture` without
    what it says of losses."""
    return write_picture(image, suffix, background)[0]
