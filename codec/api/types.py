"""What the public functions take and return, beside Pillow's images and bytes."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Union

if TYPE_CHECKING:
    from PIL import Image

ModelName = str | os.PathLike[str]  # the name of a model, or the path of its weights file
Rectangle = tuple[int, int, int, int] | tuple[int, int, int, int, float]  # x, y, width, height, and perhaps a weight
Roi = Union["Image.Image", str, os.PathLike[str], Rectangle]  # a region that matters, see `encode`


class ModelInfo(TypedDict):
    """The model that a file needs: its id in hexadecimal digits, and its name, None if it is not installed."""

    id: str
    name: str | None


class RegionsInfo(TypedDict):
    """The regions of a file that are better than the rest: their share of the picture, 0..1, and their best quality."""

    share: float
    quality: float


class Info(TypedDict):
    """What `info` finds: the picture's size in pixels, its mode (L, LA, RGB or RGBA), the edge of a tile in pixels (0:
    one tile), the number of tiles, regions that are better than the rest (None if there are none), bits per pixel of
    the whole file, and sizes in bytes: "total", "header" (with checksums and tile table), "payload" and those of the
    chunks by kind, such as "exif"."""

    width: int
    height: int
    mode: str
    quality: float
    model: ModelInfo
    format_version: int
    tile: int
    tiles: int
    regions: RegionsInfo | None
    bpp: float
    bytes: dict[str, int]


@dataclass(frozen=True)
class Salvaged:
    """What `salvage` gives: the image, and the damaged tiles, (left, top, right, bottom) in pixels of the full-size
    picture, that were filled from their surroundings; none if the file is whole. The 16 pixels around a tile are made
    from it too and are filled with it. A crop names the tiles that it meets with these 16 pixels."""

    image: "Image.Image"
    missing: list[tuple[int, int, int, int]]
