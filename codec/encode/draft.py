"""A picture whose symbols are chosen but not coded yet, and the regions that a search improves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lapic.codec.exact.context import Coded
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import shown_latents
from lapic.codec.model.qualities import part_of
from lapic.codec.picture.tiling import LATENT, Rect, copy_shared

PIECE = 1024 // LATENT  # edge, in latents, of the squares that are searched at a time, unless a tile is larger
HALO = 2  # latents around it that are synthesised too; 8, all that the synthesis sees, give no better files


@dataclass
class Rounded:
    """A tile's integers as float tensors: the hyper-latent z (B, Z, h/4, w/4) and the latents."""

    z: Tensor
    coded: Coded


@dataclass
class Region:
    """Tiles that are searched together, with their surroundings.

    Attributes:
        picture: (B, 3, 16h, 16w) in -1..1.
        size: height and width of the picture without padding, from its upper left corner.
        latent: y^ in steps, (B, M, h, w).
        tiles: those that are improved, each with the rows and columns of its latents.
        quality: fixed-point, (B,) or of each place (B, h, w).
    """

    picture: Tensor
    size: tuple[int, int]
    latent: Tensor
    tiles: list[tuple[tuple[slice, slice], Rounded]]
    quality: Tensor

    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the tiles' pixels, without the halo."""
        rows, columns = (
            slice(LATENT * min(part.start for part in parts), min(LATENT * max(part.stop for part in parts), size))
            for parts, size in zip(zip(*(place for place, _ in self.tiles), strict=True), self.size, strict=True)
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


def regions(model: Model, draft: Draft) -> Iterator[Region]:
    """The tiles of a picture, some at a time, with the latents that surround them at that time."""
    height, width = draft.shape[:2]
    for piece in draft.bounds.cut(PIECE):
        piece_tiles = [
            rect
            for rect in draft.tiles
            if piece.top <= rect.top < piece.bottom and piece.left <= rect.left < piece.right
        ]
        if not piece_tiles:
            continue  # a larger tile begins in an earlier piece
        last = max(piece_tiles, key=lambda rect: (rect.bottom, rect.right))
        input_rect = Rect(piece_tiles[0].top, piece_tiles[0].left, last.bottom, last.right).grow(HALO, draft.bounds)
        around = {
            rect: shown_latents(model, tile.coded) for rect, tile in draft.tiles.items() if rect.overlaps(input_rect)
        }
        shape = (1, model.config.latent, input_rect.height, input_rect.width)
        latent = torch.empty(shape, dtype=torch.float32, device=draft.quality.device)
        latent = latent.contiguous(memory_format=torch.channels_last)
        copy_shared(around, latent, input_rect)
        pixels = input_rect.times(LATENT).grow(0, Rect(0, 0, height, width))
        tiles = [(rect.within(input_rect), draft.tiles[rect]) for rect in piece_tiles]
        quality = part_of(draft.quality, input_rect.within(draft.bounds))
        yield Region(draft.show(input_rect), (pixels.height, pixels.width), latent, tiles, quality)
