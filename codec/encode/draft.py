"""A picture whose symbols are chosen but not coded yet, and the regions that a search improves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lapic.codec.exact.context import Coded
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import shown_latents
from lapic.codec.picture.tiling import LATENT, Rect, copy_shared

PIECE = 1024 // LATENT  # edge in latents of what is searched at once, unless a tile is larger
AROUND = 2  # latents around it that are looked at too; all that the synthesis sees of them, 8, would bring nothing more


@dataclass
class Rounded:
    """A tile's integers as float tensors: the hyper-latent z (B, Z, h/4, w/4) and the latents."""

    z: Tensor
    coded: Coded


@dataclass
class Region:
    """What a search looks at: tiles and their surroundings.

    `picture` is (B, 3, 16h, 16w) in -1..1, of which `size`, height and width from the upper left corner, counts and the
    rest is padding; `latent` is y^ in steps, (B, M, h, w); `tiles` are those that are improved, each with the place of
    its latents.
    """

    picture: Tensor
    size: tuple[int, int]
    latent: Tensor
    tiles: list[tuple[tuple[slice, slice], Rounded]]

    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the tiles' pixels, without what surrounds them."""
        rows, columns = (
            slice(LATENT * min(one.start for one in ends), min(LATENT * max(one.stop for one in ends), size))
            for ends, size in zip(zip(*(place for place, _ in self.tiles), strict=True), self.size, strict=True)
        )
        return rows, columns


@dataclass(frozen=True)
class Draft:
    """A picture whose symbols are chosen but not coded yet.

    Attributes:
        tiles: by their places. bounds: of the picture in latents.
        show: gives the pixels of a rectangle of latents, (1, 3, 16h, 16w) in -1..1.
        shape: height and width of the picture in pixels, and what follows.
        quality: (1,), fixed-point.
    """

    tiles: dict[Rect, Rounded]
    bounds: Rect
    show: Callable[[Rect], Tensor]
    shape: tuple[int, ...]
    quality: Tensor


def regions(model: Model, draft: Draft) -> Iterator[Region]:
    """The tiles of a picture, some at a time, with their surroundings as they are when their turn comes."""
    height, width = draft.shape[:2]
    for piece in draft.bounds.cut(PIECE):
        corners = [
            rect
            for rect in draft.tiles
            if piece.top <= rect.top < piece.bottom and piece.left <= rect.left < piece.right
        ]
        if not corners:
            continue  # a larger tile begins in an earlier piece
        last = max(corners, key=lambda rect: (rect.bottom, rect.right))
        area = Rect(corners[0].top, corners[0].left, last.bottom, last.right).grow(AROUND, draft.bounds)
        around = {rect: shown_latents(model, tile.coded) for rect, tile in draft.tiles.items() if rect.overlaps(area)}
        shape = (1, model.config.latent, area.height, area.width)
        latent = torch.empty(shape, dtype=torch.float32, device=draft.quality.device)
        latent = latent.contiguous(memory_format=torch.channels_last)
        copy_shared(around, latent, area)
        counts = area.times(LATENT).grow(0, Rect(0, 0, height, width))
        tiles = [(rect.within(area), draft.tiles[rect]) for rect in corners]
        yield Region(draft.show(area), (counts.height, counts.width), latent, tiles)
