"""Picture files into Pillow images: the first frame, or one frame after the other."""

import io
import struct
from collections.abc import Iterator
from typing import IO

from PIL import Image, ImageFile, UnidentifiedImageError

from lapic.bitstream import Error
from lapic.codec.picture import depth, heic, probe

_PAGED = ("TIFF", "MPO")  # formats whose frames differ in size and metadata
_OF_PAGE = ("icc_profile", "dpi", "jfif_unit", "jfif_density")  # that Pillow keeps for pages without them


def identify(file: IO[bytes]) -> ImageFile.ImageFile:
    """Open a picture file as Image.open does, without Pillow's limit of pixels, which is one for the whole process:
    callers check theirs with `check_pixels`.

    Raises:
        UnidentifiedImageError: no reader accepts the file. Pillow's readers raise other types for damaged files.
        Error: the file is HEIC, and its plugin is not installed.
    """
    prefix = file.read(16)
    if heic.is_heic(prefix):
        heic.register()
    tried: set[str] = set()
    for load_plugins in (Image.preinit, Image.init):
        load_plugins()
        for name in [name for name in Image.ID if name not in tried]:
            tried.add(name)
            factory, accept = Image.OPEN[name]
            try:
                accepted = not accept or accept(prefix)
                if accepted and not isinstance(accepted, str):
                    file.seek(0)
                    return factory(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # as Image.open does: another reader may accept the file
    if heic.is_heic(prefix) and not heic.register():
        raise Error(heic.MISSING)
    raise UnidentifiedImageError("not a picture that Pillow can read")


def open_image(source: bytes, max_pixels: int | None = None) -> Image.Image:
    """A picture file's bytes as a loaded Pillow image (the first frame).

    If Pillow refuses a file for its metadata they are removed, and added to the image's `info` as far as they can be
    read.

    Raises `Error` if it cannot be read or has more than `max_pixels` pixels.
    """
    try:
        return _load(source, max_pixels)
    except (Error, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise many types for damaged files
        try:
            without = probe.without_metadata(source)
            if without is not None:
                image = _load(without[0], max_pixels)
                image.info |= without[1]
                return image
        except (Error, MemoryError):
            raise
        except Exception:  # then the first reason is reported
            pass
        raise Error(reason_of(error)) from None


def _load(source: bytes, max_pixels: int | None) -> Image.Image:
    image = identify(io.BytesIO(source))
    check_pixels(image, max_pixels)
    load_pixels(image)
    cicp = probe.cicp(source)
    if cicp:
        image.info["cicp"] = cicp
    key = image.info.get("transparency")
    bits = 8 if key is None else probe.depth(image, source)
    if image.mode == "L" and image.format == "PNG" and bits < 8 and isinstance(key, int) and key < 2**bits:
        image.info["transparency"] = key * 255 // (2**bits - 1)  # scaled as Pillow scales the pixels
    if image.mode == "RGB" and isinstance(key, tuple) and bits == 16:
        image.putalpha(depth.transparent_where(image, _low_bytes(source)))
        del image.info["transparency"]
    return image


def check_pixels(image: Image.Image, max_pixels: int | None) -> None:
    """Raise `Error` for an image with more than `max_pixels` pixels, before they are read."""
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise Error(f"{image.width} x {image.height} is more than {max_pixels} pixels: see --max-pixels")


def load_pixels(image: Image.Image) -> None:
    """Read the pixels. The memory of a TIFF is allocated first, because otherwise Pillow checks its own limit."""
    if isinstance(image, ImageFile.ImageFile) and image.format == "TIFF" and getattr(image, "_im", 0) is None:
        image.im = Image.core.new(image.mode, getattr(image, "_tile_size", image.size))
    image.load()


def _low_bytes(source: bytes) -> Image.Image:
    """The low bytes of a PNG of 16-bit RGB, of which Pillow reads the high bytes."""
    image = identify(io.BytesIO(source))
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    image.load()
    return image


def reason_of(error: Exception) -> str:
    """An exception of Pillow's readers in one line."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that Pillow can read"
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, Image.DecompressionBombError):
        return f"the picture is too large: {reason}"
    return f"the picture is damaged or of an unknown kind: {reason}"


def frames(image: Image.Image, max_pixels: int | None, notes: list[str]) -> Iterator[Image.Image]:
    """The frames or pages of an image up to the first damaged one, each loaded into the image itself.

    Args:
        notes: if a frame is damaged, a note with the number of frames that can be read is added.

    Raises:
        Error: a frame has more than `max_pixels` pixels. Pages of TIFF and MPO are checked before the first is read.
    """
    if image.format in _PAGED:
        number = 0
        while _seek(image, number) == "":
            check_pixels(image, max_pixels)
            number += 1
        _seek(image, 0)
    number, reason = 0, ""
    while not reason:
        reason = _seek(image, number)
        if reason:
            break
        check_pixels(image, max_pixels)
        try:
            load_pixels(image)
        except MemoryError:
            raise
        except Exception as error:
            reason = reason_of(error)
            break
        yield image
        number += 1
    if reason != "end":
        notes.append(f"only the first {number} frame(s) can be read: {reason}")


def _seek(image: Image.Image, number: int) -> str:
    """Go to a frame, whose metadata alone are in `info` then. Returns "" for success, "end" after the last frame, else
    why it cannot be read."""
    before = dict(image.info)
    if image.format in _PAGED and number != image.tell():
        for key in (*_OF_PAGE, "xmp"):
            image.info.pop(key, None)
    try:
        image.seek(number)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many types
        image.info = before
        return "end" if isinstance(error, EOFError) else reason_of(error)
    return ""


def count_frames(image: Image.Image) -> int:
    """How many frames or pages an image has. Raises `Error` if the file is damaged so that they cannot be counted."""
    before = {key: image.info[key] for key in _OF_PAGE if key in image.info}
    try:
        count = getattr(image, "n_frames", 1)
    except Exception as error:  # Pillow raises many types
        raise Error(reason_of(error)) from None
    image.info = {key: value for key, value in image.info.items() if key not in _OF_PAGE} | before
    return count
