"""What the public functions take and return, beside Pillow's images and bytes."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from PIL import Image

ModelName = str | os.PathLike[str]  # the name of a model, or the path of its weights file


class ModelInfo(TypedDict):
    """The model that a file needs: its id in hexadecimal digits, and its name, None if it is not installed."""

    id: str
    name: str | None


class Info(TypedDict):
    """What `info` finds: the picture's size in pixels, its mode (L, LA, RGB or RGBA), the edge of a tile in pixels (0:
    one tile), the number of tiles, bits per pixel of the whole file, and sizes in bytes: "total", "header" (with
    checksums and tile table), "payload" and those of the chunks by kind, such as "exif"."""

    width: int
    height: int
    mode: str
    quality: float
    model: ModelInfo
    format_version: int
    tile: int
    tiles: int
    bpp: float
    bytes: dict[str, int]


@dataclass(frozen=True)
class Salvaged:
    """What `salvage` gives: the image, and the rectangles, (left, top, right, bottom) in pixels of the full-size
    picture, that were filled from their surroundings; none if the file is whole."""

    image: "Image.Image"
    missing: list[tuple[int, int, int, int]]
