"""Picture files into Pillow images: the first frame, or one frame after the other."""

import io
import struct
from collections.abc import Iterator
from typing import IO

from PIL import Image, ImageFile, UnidentifiedImageError

from lapic.bitstream import Error
from lapic.codec.picture import depth, probe


def identify(file: IO[bytes]) -> ImageFile.ImageFile:
    """As Image.open, but with no limit of pixels: Pillow's belongs to the whole process, and ours is checked by whom
    calls this. Raises UnidentifiedImageError, or whatever Pillow's readers raise of a damaged file."""
    prefix = file.read(16)
    tried: set[str] = set()
    for load_plugins in (Image.preinit, Image.init):
        load_plugins()
        for kind in [kind for kind in Image.ID if kind not in tried]:
            tried.add(kind)
            factory, accept = Image.OPEN[kind]
            try:
                accepted = not accept or accept(prefix)
                if accepted and not isinstance(accepted, str):
                    file.seek(0)
                    return factory(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # as Image.open does: another reader may know the file
    raise UnidentifiedImageError("not a picture that Pillow can read")


def open_image(source: bytes, max_pixels: int | None = None) -> Image.Image:
    """A picture file's bytes as a loaded Pillow image (the first frame).

    Metadata that keep Pillow from reading a file are taken out of it first, and put into the image's `info` if they can
    be read otherwise.

    Raises `Error` if it cannot be read or has more than `max_pixels` pixels.
    """
    try:
        return _load(source, max_pixels)
    except (Error, MemoryError):
        raise
    except Exception as error:  # Pillow's readers meet broken files with many kinds of exceptions
        try:
            without = probe.eased(source)
            if without is not None:
                image = _load(without[0], max_pixels)
                image.info |= without[1]
                return image
        except (Error, MemoryError):
            raise
        except Exception:  # then the first reason is the one to tell
            pass
        raise Error(reason_of(error)) from None


def _load(source: bytes, max_pixels: int | None) -> Image.Image:
    image = identify(io.BytesIO(source))
    check_pixels(image, max_pixels)
    load_pixels(image)
    told = probe.cicp(source)
    if told:
        image.info["cicp"] = told
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and probe.depth(image, source) == 16:
        image.putalpha(depth.transparent_where(image, _low_bytes(source)))
        del image.info["transparency"]
    return image


def check_pixels(image: Image.Image, max_pixels: int | None) -> None:
    """Raise `Error` for an image of more pixels, before they are read."""
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise Error(f"{image.width} x {image.height} is more than {max_pixels} pixels: see --max-pixels")


def load_pixels(image: Image.Image) -> None:
    """Read the pixels; those of a TIFF into memory that is there already, else Pillow checks its own limit again."""
    if isinstance(image, ImageFile.ImageFile) and image.format == "TIFF" and getattr(image, "_im", 0) is None:
        image.im = Image.core.new(image.mode, getattr(image, "_tile_size", image.size))
    image.load()


def _low_bytes(source: bytes) -> Image.Image:
    """The low bytes of a PNG of 16-bit RGB, of which Pillow gives the high ones."""
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
    """The frames or pages of an image, each loaded, as the image itself, until one is damaged; a note then says so.

    Raises `Error` if a page has more than `max_pixels` pixels: before the first, where pages say their sizes.
    """
    if image.format in ("TIFF", "MPO"):
        number = 0
        while _seek(image, number) == "":
            check_pixels(image, max_pixels)
            number += 1
        image.seek(0)
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
    """Go to a frame: "" if it is there, "end" behind the last one, else why it cannot be read."""
    try:
        image.seek(number)
    except EOFError:
        return "end"
    except MemoryError:
        raise
    except Exception as error:  # of many kinds
        return reason_of(error)
    return ""


def count_frames(image: Image.Image) -> int:
    """How many frames or pages an image has. Raises `Error` if the file is damaged so that they cannot be counted."""
    try:
        return getattr(image, "n_frames", 1)
    except Exception as error:  # of many kinds
        raise Error(reason_of(error)) from None
