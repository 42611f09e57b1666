"""A picture whose symbols are chosen but not coded yet, and the regions that a search improves."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lapic.codec.exact.context import Coded
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import shown_latents
from lapic.codec.model.qualities import part_of
from lapic.codec.picture.tiling import LATENT, Rect, copy_shared

HALO = 2  # latents around a piece that are synthesised too, an even number; 8, all that it sees, give no better files
SMALLEST, LARGEST = 768, 2048  # latents of a piece; smaller ones have much halo, larger ones need much memory
ON_GPU = 4096  # latents of a piece at most there, where launching takes the time
PIECES = 4  # of a picture, if they can be that large
AT_ONCE = 4  # pieces, which bounds the memory; on a GPU one

Place = tuple[slice, slice]  # rows and columns


@dataclass
class Rounded:
    """A tile's integers as float tensors: the hyper-latent z (B, Z, h/4, w/4) and the latents."""

    z: Tensor
    coded: Coded


@dataclass(frozen=True)
class TilePart:
    """What a region shows of a tile: a window of it, and within that the latents that are improved.

    Attributes:
        tile: the tile's integers. rect: of the tile.
        window: the window in the tile. place: the same latents in the region.
        inner: those that are improved, in the window.
    """

    tile: Rounded
    rect: Rect
    window: Place
    place: Place
    inner: Place

    @classmethod
    def of(cls, tile: Rounded, rect: Rect, region: Rect, piece: Rect) -> "TilePart":
        """The part of a tile at `rect` that a region shows to improve a piece."""
        window = rect.grow(0, region)
        return cls(tile, rect, window.within(rect), window.within(region), piece.grow(0, window).within(window))

    def improved(self, place: Place) -> Place:
        """Where the latents that are improved lie, if the window lies at `place`."""
        rows, columns = (
            slice(outer.start + inner.start, outer.start + inner.stop)
            for outer, inner in zip(place, self.inner, strict=True)
        )
        return rows, columns


@dataclass
class Region:
    """A piece of a picture that is searched by itself, with its surroundings.

    Attributes:
        picture: (B, 3, 16h, 16w) in -1..1.
        size: height and width of the picture without padding, from its upper left corner.
        latent: y^ in steps, (B, M, h, w).
        parts: of the tiles that the piece touches.
        quality: fixed-point, (B,) or of each place (B, h, w).
        piece: rows and columns of the latents without the surroundings.
    """

    picture: Tensor
    size: tuple[int, int]
    latent: Tensor
    parts: list[TilePart]
    quality: Tensor
    piece: Place

    @classmethod
    def whole(cls, picture: Tensor, size: tuple[int, int], latent: Tensor, tile: Rounded, quality: Tensor) -> "Region":
        """A picture of one tile, all of it a piece; arguments as the attributes."""
        rect = Rect(0, 0, *latent.shape[2:])
        part = TilePart.of(tile, rect, rect, rect)
        return cls(picture, size, latent, [part], quality, part.place)

    def inside(self) -> Place:
        """Rows and columns of the piece's pixels, without padding."""
        rows, columns = (
            slice(LATENT * part.start, min(LATENT * part.stop, size))
            for part, size in zip(self.piece, self.size, strict=True)
        )
        return rows, columns


@dataclass(frozen=True)
class Draft:
    """A picture whose symbols are chosen but not coded yet.

    Attributes:
        tiles: by their places. bounds: of the picture in latents.
        show: returns the pixels of a rectangle of latents, (1, 3, 16h, 16w) in -1..1.
        shape: height and width of the picture in pixels, and what follows.
        quality: fixed-point, (1,) or of each place (1, H/16, W/16).
    """

    tiles: dict[Rect, Rounded]
    bounds: Rect
    show: Callable[[Rect], Tensor]
    shape: tuple[int, ...]
    quality: Tensor

    def quality_at(self, rect: Rect) -> Tensor:
        """Fixed-point qualities of a rectangle, (1,) or of its places (1, h, w)."""
        return part_of(self.quality, rect.within(self.bounds))

    def pieces(self) -> list[Rect]:
        """Equal pieces of the picture, which depend on its size alone and on whether it is encoded on a GPU."""
        if self.quality.device.type != "cpu":
            return _halved(self.bounds, ON_GPU)
        area = self.bounds.height * self.bounds.width
        return _halved(self.bounds, min(max(area / PIECES, SMALLEST), LARGEST))

    def region(self, model: Model, piece: Rect) -> Region:
        """A piece with the latents that surround it."""
        height, width = self.shape[:2]
        region = piece.grow(HALO, self.bounds)
        shown = {rect: tile for rect, tile in self.tiles.items() if rect.overlaps(region)}
        shape = (1, model.config.latent, region.height, region.width)
        latent = torch.empty(shape, dtype=torch.float32, device=self.quality.device, memory_format=torch.channels_last)
        for rect, tile in shown.items():
            window = rect.grow(0, region)
            copy_shared({window: shown_latents(model, tile.coded.part(window.within(rect)))}, latent, region)
        pixels = region.times(LATENT).grow(0, Rect(0, 0, height, width))
        parts = [TilePart.of(tile, rect, region, piece) for rect, tile in shown.items() if rect.overlaps(piece)]
        size, quality = (pixels.height, pixels.width), self.quality_at(region)
        return Region(self.show(region), size, latent, parts, quality, piece.within(region))


def pieces_at_once(device: torch.device) -> int:
    """How many pieces of a picture may be in work at the same time."""
    return AT_ONCE if device.type == "cpu" else 1


def _halved(rect: Rect, area: float) -> list[Rect]:
    """A rectangle, halved along its longer edge until the parts are no larger than `area`. All begin at even rows and
    columns, as the checkerboard of the context does (`codec.exact.context`): seen from odd ones, white would be black.
    """
    if rect.height * rect.width <= area:
        return [rect]
    if rect.height > rect.width:
        middle = rect.top + 2 * round(rect.height / 4)
        halves = Rect(rect.top, rect.left, middle, rect.right), Rect(middle, rect.left, rect.bottom, rect.right)
    else:
        middle = rect.left + 2 * round(rect.width / 4)
        halves = Rect(rect.top, rect.left, rect.bottom, middle), Rect(rect.top, middle, rect.bottom, rect.right)
    return [part for half in halves for part in _halved(half, area)]
