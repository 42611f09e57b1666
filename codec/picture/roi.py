"""Regions that matter, as users name them: what errors count at each place of 16 x 16 pixels."""

import io
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lapic.bitstream import Error
from lapic.codec import arguments, files
from lapic.codec.picture import detect, pillow, reading
from lapic.codec.picture.tiling import LATENT

if TYPE_CHECKING:
    from PIL import Image

WEIGHT = 4.0  # times that an error in a region counts where nothing else is said
HEAVIEST = 100.0
RECTANGLE = re.compile(r"[-+\d.,\s]+")

Weights = NDArray[np.float64]


def weights_of(roi: Any, pixels: NDArray[np.uint8]) -> Weights | None:
    """What errors count at each place of a picture, (ceil(H/16), ceil(W/16)) from 1 up; None if all count alike.

    Args:
        roi: as `codec.api.encode` takes it. pixels: (H, W, 3) or (H, W).

    Raises:
        ValueError: a rectangle or a mask does not fit the picture, a mask is black, or a weight is outside 1..100.
        TypeError: it is none of what is taken.
        Error: a mask cannot be read, or the detector is not installed.
    """
    weights = np.ones([-(-edge // LATENT) for edge in pixels.shape[:2]])
    for item in _items(roi):
        level, weight = _level(item, pixels)
        weights = np.maximum(weights, 1 + (weight - 1) * level)
    return weights if weights.min() < weights.max() else None


def _items(roi: Any) -> Sequence[Any]:
    """One region or several as several."""
    if roi is None:
        return []
    several = isinstance(roi, list | tuple) and not _is_rectangle(roi)
    return roi if several else [roi]


def _is_rectangle(item: Any) -> bool:
    return isinstance(item, list | tuple) and len(item) in (4, 5) and not any(isinstance(n, str) for n in item) and all(
        np.isscalar(number) for number in item
    )  # fmt: skip


def _is_written_rectangle(text: str) -> bool:
    """Whether a text is meant as a rectangle: of digits alone, or with commas where no mask has such a name."""
    is_name = files.is_address(text) or os.path.exists(text)
    return bool(RECTANGLE.fullmatch(text)) or ("," in text and not is_name)


def is_mask(item: Any) -> bool:
    """Whether a region is the name of a mask's file that is there."""
    is_name = isinstance(item, str) and item not in detect.KINDS and not _is_written_rectangle(item)
    return is_name and os.path.isfile(item)


def _level(item: Any, pixels: NDArray[np.uint8]) -> tuple[Weights, float]:
    """How far each place belongs to a region, 0..1, and the weight of what belongs to it wholly."""
    size = pixels.shape[1::-1]
    if isinstance(item, str) and item in detect.KINDS:
        return detect.found(item, pixels), WEIGHT
    if isinstance(item, str) and _is_written_rectangle(item):
        try:
            item = [float(number) for number in item.split(",")]
        except ValueError:
            item = []
        if len(item) not in (4, 5):
            raise ValueError("a region is X,Y,W,H or X,Y,W,H,WEIGHT, a mask's file, faces, text or auto")
    if _is_rectangle(item):
        weight = arguments.number("the weight of a region", item[4], 1, HEAVIEST) if len(item) == 5 else WEIGHT
        return _of_rectangle(arguments.rectangle("a region", item[:4]), size), weight
    if isinstance(item, str | os.PathLike):
        return _of_mask(_opened(os.fspath(item), size), size), WEIGHT
    if np.isscalar(item) or isinstance(item, list | tuple):
        raise TypeError(f"a region is (x, y, width, height) with or without a weight, a mask or a word, not {item!r}")
    arguments.check_image(item)
    return _of_mask(item, size), WEIGHT


def _opened(name: str, size: tuple[int, int]) -> "Image.Image":
    """The picture in a mask's file. Raises `Error` with the file's name, ValueError: it is of another size."""
    data = files.read_input(name)
    try:
        stored = reading.identify(io.BytesIO(data)).size
    except Exception:  # Pillow raises many types; `open_image` says what is wrong
        stored = size
    if sorted(stored) != sorted(size):  # EXIF's orientation may exchange the two
        _check_size(stored, size)
    try:
        return pillow.open_image(data)
    except Error as error:
        raise Error(f"the mask {name}: {error}") from None


def _of_rectangle(rectangle: tuple[int, int, int, int], size: tuple[int, int]) -> Weights:
    """The share of each place that lies in a rectangle x, y, width, height."""
    x, y, width, height = rectangle
    if min(x, y) < 0 or min(width, height) < 1 or x + width > size[0] or y + height > size[1]:
        raise ValueError(f"region {x},{y},{width},{height} is not within the {size[0]} x {size[1]} picture")
    return coverage(rectangle, size)


def coverage(rectangle: tuple[int, int, int, int], size: tuple[int, int]) -> Weights:
    """The share, 0..1, of each place of a picture (width, height) that a rectangle within it covers."""
    shares = []
    for begin, length, edge in zip(rectangle[:2], rectangle[2:], size, strict=True):
        starts = np.arange(0, edge, LATENT)
        ends = np.minimum(starts + LATENT, edge)
        common = np.minimum(ends, begin + length) - np.maximum(starts, begin)
        shares.append(common.clip(0) / (ends - starts))
    return np.outer(shares[1], shares[0])


def _of_mask(mask: "Image.Image", size: tuple[int, int]) -> Weights:
    """The mean level of a mask at each place, white being 1, and what is transparent being black."""
    pixels, chunks = pillow.from_pil(mask)
    _check_size(pixels.shape[1::-1], size)
    levels = pixels.reshape(*pixels.shape[:2], -1).mean(2) / 255
    alpha = pillow.read_alpha(chunks, size)
    if alpha is not None:
        levels *= np.asarray(alpha) / 255
    if not levels.any():
        raise ValueError("the mask is black everywhere: no region matters")
    return mean_of_places(levels)


def _check_size(found: tuple[int, ...], size: tuple[int, int]) -> None:
    """Raise ValueError unless a mask has the size of the picture."""
    if found != size:
        raise ValueError(f"the mask is of {found[0]} x {found[1]} pixels, the picture of {size[0]} x {size[1]}")


def mean_of_places(levels: NDArray[np.floating]) -> Weights:
    """The mean of the pixels (H, W) of each place."""
    height, width = levels.shape
    rows, columns = np.arange(0, height, LATENT), np.arange(0, width, LATENT)
    sums = np.add.reduceat(np.add.reduceat(levels, rows, axis=0, dtype=np.float64), columns, axis=1)
    counts = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    return sums / counts
