"""Decoding: container -> ANS -> hyperprior -> ANS -> inverse gain -> synthesis -> pyramid -> collapse -> picture."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapic import bitstream
from lapic.bitstream import Error, Header, PixelFormat, Tile
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.decode import picture_filter
from lapic.codec.decode import realism as realistic
from lapic.codec.decode.picture_filter import REACH, PostFilter
from lapic.codec.decode.symbols import TileLatents
from lapic.codec.host import isolated
from lapic.codec.model.codec_weights import Model
from lapic.codec.nets import levels
from lapic.codec.nets.pyramid import reduce
from lapic.codec.nets.translator import Translator
from lapic.codec.picture.fill import fill
from lapic.codec.picture.tensors import to_pixels
from lapic.codec.picture.tiling import LATENT, Rect, halo, piece_edge
from lapic.codec.threads import fit_threads, in_free_threads

STRIP_PIXELS = 131_072  # that a thread filters and rounds at a time


def read(
    data: bytes | bytearray | memoryview,
    crop: tuple[int, int, int, int] | None,
    max_pixels: int | None,
    salvage: bool = False,
) -> tuple[Header, list[Tile]]:
    """`bitstream.read` of a file of which a crop (x, y, width, height) is decoded, or all of it for None: that is what
    may have no more than `max_pixels` pixels. Raises `Error` if it has, or as `bitstream.read` does."""
    if crop and max_pixels is not None and crop[2] * crop[3] > max_pixels:
        raise Error(f"{crop[2]} x {crop[3]} is more than {max_pixels} pixels: raise the limit to decode it")
    return bitstream.read(data, None if crop else max_pixels, salvage=salvage)


@dataclass(frozen=True)
class View:
    """The part of a picture that is decoded, and how.

    Attributes:
        scale: 1, 2, 4 or 8: the picture at 1/scale of its size, rounded up.
        crop: (x, y, width, height) in pixels of the full-size picture, None for all of it.
        piece: edge, in latents, of the squares that are synthesised at a time; 0 for `tiling.piece_edge`.
        realism: 0 (faithful) to 1 (realistic), see codec.decode.realism.
    """

    scale: int = 1
    crop: tuple[int, int, int, int] | None = None
    piece: int = 0
    realism: float = 0.0

    def area(self, header: Header) -> Rect:
        """The crop as a rectangle. Raises ValueError: it leaves the picture, or scale or realism is out of range."""
        x, y, width, height = self.crop or (0, 0, header.width, header.height)
        if min(x, y) < 0 or min(width, height) < 1 or x + width > header.width or y + height > header.height:
            size = f"{header.width} x {header.height}"
            raise ValueError(f"crop {x},{y},{width},{height} is not within the {size} picture")
        if self.scale not in (1, 2, 4, 8):
            raise ValueError(f"scale {self.scale} is not 1, 2, 4 or 8")
        if not 0 <= self.realism <= 1:
            raise ValueError(f"realism {self.realism} is outside 0..1")
        return Rect(y, x, y + height, x + width)


# The rectangles of a decode. All but output_rect count latents, 16 x 16 pixels of the full-size picture.
#
#   +------------------+------------------+
#   | tile             | tile             |    tile          what is entropy-coded by itself
#   |  . . . . . . . . . . .              |    input_rect    . a piece with its halo: what the synthesis gets
#   |  .  ############### .===========    |    piece_rect    # what is kept of that
#   |  .  #  +----------#-.---------+=    |    latent_rect   # and = all latents that the crop touches, cut into pieces
#   |  .  #  | crop     # .         |=    |    output_rect   the crop, in pixels of the output
#   +--.--#--|----------#-.---------|=----+
#   |  .  #  +----------#-.---------+=    |
#   |  .  ############### .===========    |    A row of pieces becomes a band of the output.
#   |  . . . . . . . . . . .              |
#   +------------------+------------------+


@dataclass(frozen=True)
class Frame:
    """The rectangles of a decode, as drawn above.

    Attributes:
        bounds: the whole picture, in latents.
        latent_rect: the latents that the crop touches.
        output_rect: the crop in pixels of the output, which is smaller than the picture by the view's scale.
        unit: edge of a latent in pixels of the output.
        halo: how many latents beyond a piece the networks see.
        edge: of a piece, in latents.
    """

    bounds: Rect
    latent_rect: Rect
    output_rect: Rect
    unit: int
    halo: int
    edge: int

    @classmethod
    def of(cls, view: View, header: Header, bounds: Rect, halo: int) -> "Frame":
        """The rectangles of a view. Raises ValueError as `View.area`."""
        crop = view.area(header)
        latent_rect, output_rect = _coarser(crop, LATENT), _coarser(crop, view.scale)
        return cls(bounds, latent_rect, output_rect, LATENT // view.scale, halo, view.piece or piece_edge(latent_rect))

    def rows(self) -> Iterator[Rect]:
        """The rows of pieces, from top to bottom."""
        area = self.latent_rect
        for top in range(area.top, area.bottom, self.edge):
            yield Rect(top, area.left, min(top + self.edge, area.bottom), area.right)

    def pieces(self, row_rect: Rect) -> Iterator[tuple[Rect, Rect]]:
        """Each piece_rect of a row, from left to right, with its input_rect."""
        for piece_rect in row_rect.cut(self.edge):
            yield piece_rect, piece_rect.grow(self.halo, self.bounds)

    def output_of(self, latents: Rect) -> Rect:
        """The pixels of the output that some latents stand for."""
        return latents.times(self.unit).grow(0, self.output_rect)

    def next_input_top(self, row_rect: Rect) -> int:
        """The first row of latents that the rows of pieces below `row_rect` need."""
        last = row_rect.bottom == self.latent_rect.bottom
        return self.bounds.bottom if last else row_rect.bottom - self.halo


def _coarser(rect: Rect, factor: int) -> Rect:
    """A rectangle in units `factor` times coarser, rounded outwards."""
    return Rect(rect.top // factor, rect.left // factor, -(-rect.bottom // factor), -(-rect.right // factor))


def synthesise(
    model: Model,
    latent: Tensor,
    quality: Tensor,
    qualities: Tensor,
    view: View,
    post_filter: PostFilter | None,
    translator: Translator | None,
) -> Tensor:
    """The picture of a region of latents (1, M, h, w), (1, 3, 16h / scale, 16w / scale) in about -1..1.

    Args:
        quality: (1,), fixed-point, of the file. qualities: the same, or those of the region's places, (1, h, w).
    """
    synthesis = model.transforms.synthesis
    if translator is None:
        picture = synthesis.picture(latent, qualities, view.scale)
        return post_filter(picture, view.scale) if post_filter else picture
    picture, features = synthesis.picture_and_features(latent, qualities)
    if post_filter:  # it lowers the error by smoothing, so it fades out as realism grows
        picture = post_filter(picture).lerp(picture, realistic.strength(quality, view.realism))
    return smaller(realistic.finish(translator, picture, features, quality, view.realism), view.scale)


def smaller(picture: Tensor, scale: int) -> Tensor:
    """A picture (1, 3, H, W) at 1/scale of its size, reduced as often as that takes."""
    for _ in range(scale.bit_length() - 1):
        picture = reduce(picture)
    return picture


def write_pixels(
    picture: Tensor, place: tuple[slice, slice], post_filter: PostFilter | None, scale: int, channels: int, out: Tensor
) -> None:
    """Filter a picture (1, 3, H, W) in -1..1 and write the pixels of some rows and columns to `out` (h, w, 1 or 3), on
    a CPU a few rows at a time, which stay in its cache. One channel is copied to all three of `out`."""
    rows, columns = place
    pixels = STRIP_PIXELS * torch.get_num_threads()
    count = max(REACH, pixels // picture.shape[3]) if picture.device.type == "cpu" else len(out)

    def write(top: int) -> None:
        bottom = min(top + count, rows.stop)
        first = max(top - REACH, 0) if post_filter else top
        strip = picture[:, :, first : bottom + REACH if post_filter else bottom]
        if post_filter:
            strip = post_filter(strip, scale)[:, :, top - first : bottom - first]
        out[top - rows.start : bottom - rows.start].copy_(to_pixels(strip[0, :, :, columns], channels))

    in_free_threads(write, range(rows.start, rows.stop, count))


@isolated
@torch.inference_mode()
def _bands(latents: TileLatents, view: View, progress: Progress) -> Iterator[NDArray[np.uint8]]:
    """The output from top to bottom: a band (h, w, header.channels) of the full width for each row of pieces."""
    model, header = latents.model, latents.header
    view.area(header)  # raises before the realistic decoder is loaded
    quality = levels.fixed_point(header.quality, model.device)
    strength = float(realistic.strength(quality, view.realism))
    translator = realistic.load(model) if strength else None
    reach = realistic.reach(translator) if translator else 0
    frame = Frame.of(view, header, latents.bounds, halo(model.config) + reach)
    post_filter = picture_filter.read(model, header.chunks)
    if strength == 1:
        post_filter = None  # it would have no effect, see `synthesise`
    channels = 3 if header.pixel_format == PixelFormat.RGB else 1
    done, count = 0, len(list(frame.latent_rect.cut(frame.edge)))
    for row_rect in frame.rows():
        band_rect, band = frame.output_of(row_rect), None
        for piece_rect, input_rect in frame.pieces(row_rect):
            fit_threads()
            latent = latents.region(input_rect, frame.next_input_top(row_rect))
            # a translator sees the filter's result
            before, behind = (post_filter, None) if translator else (None, post_filter)
            qualities = latents.qualities_at(input_rect)
            picture = synthesise(model, latent, quality, qualities, view, before, translator)
            piece_output = frame.output_of(piece_rect)
            if band is None:  # allocated once a tile is decoded: a damaged file with a huge size fails before
                band = np.empty((band_rect.height, band_rect.width, header.channels), np.uint8)
            place = piece_output.within(input_rect.times(frame.unit))
            out = torch.from_numpy(band)[piece_output.within(band_rect)]
            write_pixels(picture, place, behind, view.scale, channels, out)
            done += 1
            progress(done, count)
        assert band is not None
        yield band


def decode_bands(
    model: Model, header: Header, tiles: list[Tile], view: View = View(), progress: Progress = no_progress
) -> Iterator[NDArray[np.uint8]]:
    """Decode a picture that may be too large for memory: full-width bands (h, w, channels) from top to bottom.

    Args and errors as for `decode_pixels`.
    """
    return _bands(TileLatents(model, header, tiles, salvage=False), view, progress)


@isolated
def decode_pixels(
    model: Model,
    header: Header,
    tiles: list[Tile],
    view: View = View(),
    progress: Progress = no_progress,
    missing: list[Rect] | None = None,
) -> NDArray[np.uint8]:
    """Decode a picture, or part of it; only the tiles that are needed are entropy-decoded.

    Args:
        progress: called with the pieces done and the pieces in all.
        missing: a list that takes the damaged tiles, in pixels of the full-size picture, which are then filled from
            their surroundings with a latent around them; of a crop, those that reach it so. None to raise `Error`.

    Returns:
        (h, w, 3) RGB or (h, w) grey, uint8.

    Raises:
        ValueError: the crop is not within the picture, the scale is not one of those or the realism is out of range.
        bitstream.Error: a payload is damaged, or the model has no realistic decoder.
    """
    output_rect = _coarser(view.area(header), view.scale)
    latents = TileLatents(model, header, tiles, salvage=missing is not None)
    out = joined(_bands(latents, view, progress), output_rect.height)
    if missing is not None and latents.missing:
        latents.missing.sort(key=lambda rect: (rect.top, rect.left))  # threads note them in any order
        holes = _holes(latents, LATENT // view.scale, output_rect)
        picture_rect = Rect(0, 0, header.height, header.width)
        missing += [tile.times(LATENT).grow(0, picture_rect) for tile in holes]
        fill(out, list(holes.values()))
    return out if out.shape[2] == 3 else out[:, :, 0]


def joined(bands: Iterable[NDArray[np.uint8]], height: int) -> NDArray[np.uint8]:
    """Bands (h, w, channels) below each other, `height` rows in all; a single one as it is."""
    out, top = None, 0
    for band in bands:
        if len(band) == height:
            return band
        if out is None:
            out = np.empty((height, *band.shape[1:]), np.uint8)
        out[top : top + len(band)] = band
        top += len(band)
    assert out is not None
    return out


def _holes(latents: TileLatents, unit: int, output_rect: Rect) -> dict[Rect, Rect]:
    """By the missing tiles that spoil some of the output: the pixels of it, counted from its corner, which are the
    tile's and a latent around them."""
    holes = {}
    for missing in latents.missing:
        hole = missing.grow(1, latents.bounds).times(unit).grow(0, output_rect)
        if hole.height > 0 and hole.width > 0:
            rows, columns = hole.within(output_rect)
            holes[missing] = Rect(rows.start, columns.start, rows.stop, columns.stop)
    return holes
