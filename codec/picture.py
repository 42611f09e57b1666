"""Pictures in and out: Pillow images <-> planes of pixels, alpha and metadata."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from bitstream import Error
from bitstream.container import ALPHA, EXIF, ICC, XMP

DEEP_MODES = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
GREY_MODES = {"1", "L", "LA", "La"}
TIFF_TAGS = {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298}  # description to copyright
ALPHA_MODES = {"RGBA", "RGBa", "LA", "La", "PA"}


def open_image(source: bytes, max_pixels: int | None = None) -> Image.Image:
    """A picture file's bytes as a loaded Pillow image (the first frame).

    Raises `Error` if it cannot be read or has more than `max_pixels` pixels.
    """
    if max_pixels is not None:
        Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; ours is checked before the pixels are read
    try:
        image = Image.open(io.BytesIO(source))
        if max_pixels is not None and image.width * image.height > max_pixels:
            raise Error(f"{image.width} x {image.height} is more than {max_pixels} pixels: see --max-pixels")
        image.load()
    except Error:
        raise
    except UnidentifiedImageError:
        raise Error("not a picture that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise Error(f"the picture is too large: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers meet broken files with many kinds of exceptions
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Error(f"the picture is damaged or of an unknown kind: {reason}") from None
    return image


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """16-bit and float grey to 8 bits: 0..65535 (I, I;16) to 0..255, floats clipped to 0..255."""
    if image.mode == "F":
        return Image.fromarray(np.clip(np.asarray(image), 0, 255).round().astype(np.uint8))
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none or the EXIF data are damaged."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, OSError):
        return 1


def upright(exif: bytes) -> bytes:
    """EXIF data without its orientation, which was applied to the pixels; as they are where they are damaged."""
    try:
        found = Image.Exif()
        found.load(exif)
        if ExifTags.Base.Orientation not in found:
            return exif
        del found[ExifTags.Base.Orientation]
        return found.tobytes()
    except (SyntaxError, ValueError, OSError, struct.error, KeyError, TypeError):
        return exif


def _tiff_exif(image: Image.Image) -> bytes:
    """EXIF data of a TIFF, whose own tags they are: those that describe the picture, not the file. Empty if none."""
    try:
        found = image.getexif()
        kept = Image.Exif()
        for tag in TIFF_TAGS & set(found):
            kept[tag] = found[tag]
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if found.get_ifd(part):
                kept[part] = dict(found.get_ifd(part))
        return kept.tobytes() if len(kept) else b""
    except (SyntaxError, ValueError, OSError, struct.error, KeyError, TypeError):
        return b""


def losses(image: Image.Image, source: bytes = b"") -> list[str]:
    """What encoding cannot keep of an image, each in a few words.

    `source` is the file that it was read from: Pillow reads 16-bit colour PNG as 8 bits without a word.
    """
    found = []
    deep_png = source[:8] == b"\x89PNG\r\n\x1a\n" and source[24:25] == b"\x10"
    if image.mode in DEEP_MODES or deep_png:
        found.append("16-bit depth becomes 8 bits")
    elif image.mode not in {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"}:
        found.append(f"{image.mode} becomes RGB")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        found.append(f"only the first of {frames} frames is kept: see --frames")
    return found


def take_apart(image: Image.Image) -> tuple[NDArray[np.uint8], dict[bytes, bytes]]:
    """An image of any mode as pixels, (H, W, 3) RGB or (H, W) grey, and the chunks that keep its alpha and metadata.

    EXIF orientation is applied to the pixels and removed from the EXIF data, so that it is never applied twice.
    """
    tiff_exif = _tiff_exif(image) if image.format == "TIFF" else b""
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    chunks = {}
    if image.info.get("icc_profile") and image.mode != "CMYK":
        chunks[ICC] = image.info["icc_profile"]
    if image.info.get("exif"):
        chunks[EXIF] = image.info["exif"]
    elif tiff_exif:
        chunks[EXIF] = tiff_exif
    if image.info.get("xmp"):
        xmp = image.info["xmp"]
        chunks[XMP] = xmp if isinstance(xmp, bytes) else xmp.encode()
    if image.mode in DEEP_MODES:
        image = _to_eight_bits(image)
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        grey = image.mode in GREY_MODES
        image = image.convert("RGBA")
        chunks[ALPHA] = _png(image.getchannel("A"))
        image = image.convert("RGB")
        image = image.getchannel("G") if grey else image
    return np.asarray(image.convert("L" if image.mode in GREY_MODES else "RGB")), chunks


def put_together(pixels: NDArray[np.uint8], alpha: Image.Image | None, chunks: dict[bytes, bytes]) -> Image.Image:
    """Pixels (H, W, 3) or (H, W), alpha of the same size and metadata as an image of mode L, LA, RGB or RGBA."""
    image = Image.fromarray(pixels)
    if alpha is not None:
        image.putalpha(alpha)
    for kind, key in ((ICC, "icc_profile"), (EXIF, "exif"), (XMP, "xmp")):
        if kind in chunks:
            image.info[key] = chunks[kind]
    return image


def read_alpha(chunks: dict[bytes, bytes], size: tuple[int, int]) -> Image.Image | None:
    """The alpha channel of a file as an image of mode L and this size, if it has one. Raises `Error` if damaged."""
    if ALPHA not in chunks:
        return None
    try:
        alpha = Image.open(io.BytesIO(chunks[ALPHA]), formats=["PNG"])
        if alpha.size != size or alpha.mode != "L":
            raise Error("the alpha channel is damaged: its size or kind is wrong")
        alpha.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise error if isinstance(error, Error) else Error(f"the alpha channel is damaged: {error}") from None
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
    kind = Image.registered_extensions().get(suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise Error(f"{suffix or 'a name without a suffix'}: no known picture format, use .png, .ppm, .jpg ...")
    return kind


def save_bytes(image: Image.Image, suffix: str) -> bytes:
    """An image as a file of the format that belongs to a file name suffix, with its metadata.

    Raises `Error` if Pillow cannot write that format or it cannot hold the image.
    """
    kind = format_of(suffix)
    if kind in {"JPEG", "BMP", "PPM"} and image.mode in {"RGBA", "LA"}:
        image = image.convert("L" if image.mode == "LA" else "RGB")
    options = {key: image.info[key] for key in ("icc_profile", "exif", "xmp") if key in image.info}
    if kind in {"JPEG", "WEBP", "AVIF"}:
        options["quality"] = 95
    out = io.BytesIO()
    try:
        image.save(out, kind, **options)
    except (OSError, ValueError) as error:
        raise Error(f"the picture cannot be written as {kind}: {error}") from None
    return out.getvalue()
