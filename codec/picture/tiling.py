"""Rectangles: how a large picture is computed piece by piece without seams.

Coordinates count latents (16 pixels). Each piece is computed from a larger region, its surroundings (halo) included, as
far as the receptive field of the networks reaches, and then cut out: the result is that of the whole picture at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lapic.codec.nets.config import Config

LATENT = 16
PIECE = 2048 // LATENT
WHOLE = 4096 * 2304 // LATENT**2  # a 4K picture: its transforms take 2 GB in one go, a fifth less time than in pieces


@dataclass(frozen=True)
class Rect:
    """Rows top..bottom-1 and columns left..right-1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    def grow(self, margin: int, bounds: "Rect") -> "Rect":
        """This rectangle with `margin` on every side, as far as `bounds` reach."""
        return Rect(
            max(self.top - margin, bounds.top),
            max(self.left - margin, bounds.left),
            min(self.bottom + margin, bounds.bottom),
            min(self.right + margin, bounds.right),
        )

    def times(self, factor: int) -> "Rect":
        """The same rectangle in units `factor` times finer."""
        return Rect(self.top * factor, self.left * factor, self.bottom * factor, self.right * factor)

    def overlaps(self, other: "Rect") -> bool:
        """Whether the two have a latent in common."""
        common = self.grow(0, other)
        return common.height > 0 and common.width > 0

    def cut(self, edge: int) -> Iterator["Rect"]:
        """Squares of `edge` (smaller at the right and lower end) that cover this rectangle, in raster order."""
        for top in range(self.top, self.bottom, edge):
            for left in range(self.left, self.right, edge):
                yield Rect(top, left, min(top + edge, self.bottom), min(left + edge, self.right))

    def within(self, other: "Rect") -> tuple[slice, slice]:
        """Row and column slices that cut this rectangle out of an array that covers `other`."""
        top, left = self.top - other.top, self.left - other.left
        return slice(top, top + self.height), slice(left, left + self.width)


def copy_shared(parts: dict[Rect, Any], out: Any, area: Rect) -> None:
    """Copy parts, tensors (1, C, h, w) by their rectangles, into `out`, such a tensor of `area`, where they overlap."""
    for rect, part in parts.items():
        if rect.overlaps(area):
            common = rect.grow(0, area)
            out[:, :, *common.within(area)] = part[:, :, *common.within(rect)]


def latent_bounds(width: int, height: int) -> Rect:
    """The latents of a picture of this size in pixels."""
    return Rect(0, 0, -(-height // LATENT), -(-width // LATENT))


def tile_edge(tile: int, bounds: Rect) -> int:
    """Edge in latents of the tiles of a picture whose header says `tile` pixels, 0 for one tile."""
    return tile // LATENT or max(bounds.height, bounds.width)


def piece_edge(area: Rect) -> int:
    """Edge in latents of the squares of an area that a network computes at a time: all of it up to 4K, because the halo
    is computed again for each piece."""
    return max(area.height, area.width) if area.height * area.width <= WHOLE else PIECE


def halo(config: Config) -> int:
    """Radius of the receptive field of the synthesis in latents.

    That of its blocks, and one and a half for the filters of the pyramid, rounded up; the two pixels of the picture's
    own filter (codec.decode.picture_filter) lie within that half. The second generation has no pyramid: there it is one
    for that filter, or for those that make a smaller picture.
    """
    if config.generation == 2:
        return config.coarse_blocks + 1
    return _reach(config, config.coarse_blocks, config.fine_blocks) + 2


def analysis_halo(config: Config) -> int:
    """Radius of the receptive field of the analysis in latents; it may have more blocks than the synthesis."""
    return _reach(config, config.coarse_blocks + config.more_coarse, config.fine_blocks + config.more_fine)


def _reach(config: Config, coarse_blocks: int, fine_blocks: int) -> int:
    """Radius of the receptive field of blocks in latents: one for each depthwise 3x3 at 1/16, a half for each at 1/8
    and a quarter for each at 1/4, rounded up."""
    quarters = config.quarter_blocks if config.quarter else 0
    return coarse_blocks + -(-(2 * fine_blocks + quarters) // 4)
