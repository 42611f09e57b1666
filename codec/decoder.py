"""Decoding: container -> ANS -> hyperprior -> ANS -> inverse gain -> synthesis -> pyramid -> collapse -> picture."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitstream import Error, Header, PixelFormat, Tile, TileDecoder, read_payload
from codec import hyper, postfilter
from codec import realism as realistic
from codec.context import Coded, Pass, code_latents, runs_kernels, shown_latents
from codec.encoder import Progress, no_progress
from codec.host import isolated
from codec.model import Model
from codec.network import assemble
from codec.postfilter import PostFilter
from codec.pyramid import reduce
from codec.salvage import fill
from codec.threads import fit_threads, set_threads
from codec.tiling import LATENT, Rect, copy_shared, halo, latent_bounds, piece_edge, tile_edge
from codec.translator import Translator

AT_ONCE = 2  # tiles: one's entropy decoding, on one core, goes on while the other's networks compute


def decode_symbols(model: Model, header: Header, tile: Tile, rect: Rect) -> tuple[NDArray, NDArray, Coded]:
    """The integers of one tile.

    Returns:
        z (Z, h4, w4) int8, symbols (M, h, w) int16, and as float tensors on the model's device means, scale indices
        and symbols.

    Raises:
        bitstream.Error: the payload is damaged.
    """
    payload = read_payload(tile.payload)
    if len(payload.lanes) > 1 and runs_kernels(model.device):
        from codec import lanes

        if lanes.fits(payload):
            return lanes.decode_symbols(model, header, tile, rect, payload)
    quality = hyper.fixed_point(header.quality, model.device)
    decoder = TileDecoder(model.tables, model.level(quality), payload)
    z = decoder.hyper(-(-rect.height // 4), -(-rect.width // 4))
    symbols = np.zeros((model.config.latent, rect.height, rect.width), np.int16)

    def visit(part: Pass, _: Tensor, index: Tensor) -> Tensor:
        here = index[0].to(torch.uint8).contiguous().cpu().numpy()
        at = ... if part.places is None else (slice(None), part.places.cpu().numpy())
        symbols[part.channels][at] = decoder.latent(here[at])
        return torch.from_numpy(symbols[None, part.channels]).to(model.device, torch.float32)

    z_ = torch.from_numpy(z)[None].to(model.device, torch.float32)
    coded = code_latents(model, z_, quality, (rect.height, rect.width), visit)
    decoder.finish(symbols, tile.crc)
    return z, symbols, coded


class _Latents:
    """The latents y^ of a picture, decoded tile by tile when first needed and dropped row by row when passed.

    With `salvage` a damaged tile is noted in `missing`, and its latents are 0; else it raises `Error`.
    """

    def __init__(self, model: Model, header: Header, tiles: list[Tile], salvage: bool) -> None:
        self.salvage = salvage
        self.missing: list[Rect] = []
        self.model, self.header = model, header
        self.bounds = latent_bounds(header.width, header.height)
        self.edge = tile_edge(header.tile, self.bounds)
        self.tiles = dict(zip(self.bounds.cut(self.edge), tiles, strict=True))
        self.done: dict[Rect, tuple[Rect, Tensor]] = {}  # by tile: what is held of it
        self.quality = hyper.fixed_point(header.quality, model.device)
        self.gain = model.transforms.gain(self.quality)

    def touched(self, area: Rect) -> list[Rect]:
        """The tiles that overlap an area."""
        rows = range(area.top // self.edge, -(-area.bottom // self.edge))
        columns = range(area.left // self.edge, -(-area.right // self.edge))
        corners = [
            Rect(r * self.edge, c * self.edge, (r + 1) * self.edge, (c + 1) * self.edge) for r in rows for c in columns
        ]
        return [corner.grow(0, self.bounds) for corner in corners]

    def region(self, area: Rect, below: int) -> Tensor:
        """y^ of an area, (1, M, h, w). Areas are asked for in rows from top to bottom, from left to right; `below` is
        the first row of latents that the next row of areas asks for."""
        held, self.done = self.done, {}
        for tile, part in held.items():
            first = below if tile.right <= area.left else area.top
            if tile.bottom > first:
                self.done[tile] = _from_row(first, *part)
        shape = (1, self.model.config.latent, area.height, area.width)
        out = torch.empty(shape, dtype=torch.float32, device=self.model.device)
        out = out.contiguous(memory_format=torch.channels_last)
        fresh = [rect for rect in self.touched(area) if rect not in self.done]
        self.done |= {rect: (rect, latent) for rect, latent in zip(fresh, self._decoded(fresh), strict=True)}
        copy_shared(dict(self.done.values()), out, area)
        return out

    def _decoded(self, rects: list[Rect]) -> list[Tensor]:
        """y^ of some tiles, side by side if there are threads for it."""
        threads = torch.get_num_threads()
        if len(rects) == 1 or threads == 1:
            return [self._tile(rect) for rect in rects]
        with ThreadPoolExecutor(AT_ONCE, initializer=set_threads, initargs=[threads]) as pool:
            return list(pool.map(self._tile, rects))

    @torch.inference_mode()
    def _tile(self, rect: Rect) -> Tensor:
        """y^ of one tile, (1, M, h, w)."""
        if rect in self.missing:
            shape = (1, self.model.config.latent, rect.height, rect.width)
            return torch.zeros(shape, dtype=torch.float32, device=self.model.device)
        try:
            _, _, coded = decode_symbols(self.model, self.header, self.tiles[rect], rect)
        except Error:
            if not self.salvage:
                raise
            self.missing.append(rect)
            return self._tile(rect)
        return shown_latents(self.model, coded) / self.gain


def _from_row(top: int, rect: Rect, latent: Tensor) -> tuple[Rect, Tensor]:
    """What of a rectangle's latents (1, M, h, w) lies at row `top` and below, as a copy where most can be dropped."""
    if top - rect.top <= rect.height // 2:
        return rect, latent
    return Rect(top, rect.left, rect.bottom, rect.right), latent[:, :, top - rect.top :].clone()


@isolated
def damaged_tiles(model: Model, header: Header, tiles: list[Tile]) -> list[Rect]:
    """The tiles whose symbols cannot be decoded or do not match their checksum, in pixels of the picture."""
    bounds = latent_bounds(header.width, header.height)
    found = []
    for rect, tile in zip(bounds.cut(tile_edge(header.tile, bounds)), tiles, strict=True):
        try:
            decode_symbols(model, header, tile, rect)
        except Error:
            found.append(rect.times(LATENT).grow(0, Rect(0, 0, header.height, header.width)))
    return found


def to_pixels(picture: Tensor, channels: int) -> Tensor:
    """A picture (3, h, w) in -1..1 as uint8 (h, w, 3), or for one channel by the mean of the three (h, w, 1)."""
    if channels == 1:
        picture = picture.mean(0, keepdim=True)
    return (picture + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0)


@dataclass(frozen=True)
class View:
    """What of a picture is decoded, and how.

    Attributes:
        scale: 1, 2, 4 or 8: the picture at 1/scale of its size, rounded up.
        crop: (x, y, width, height) in pixels of the full-size picture, None for all of it.
        piece: edge, in latents, of the squares that are synthesised at a time; 0 for `tiling.piece_edge`.
        realism: 0 (faithful) to 1 (realistic), see codec.realism.
    """

    scale: int = 1
    crop: tuple[int, int, int, int] | None = None
    piece: int = 0
    realism: float = 0.0

    def area(self, header: Header) -> Rect:
        """The crop as a rectangle. Raises ValueError: it is not within the picture, or scale or realism are no good."""
        x, y, width, height = self.crop or (0, 0, header.width, header.height)
        if min(x, y) < 0 or min(width, height) < 1 or x + width > header.width or y + height > header.height:
            size = f"{header.width} x {header.height}"
            raise ValueError(f"crop {x},{y},{width},{height} is not within the {size} picture")
        if self.scale not in (1, 2, 4, 8):
            raise ValueError(f"scale {self.scale} is not 1, 2, 4 or 8")
        if not 0 <= self.realism <= 1:
            raise ValueError(f"realism {self.realism} is outside 0..1")
        return Rect(y, x, y + height, x + width)


def _shrunk(area: Rect, factor: int) -> Rect:
    """The area in units `factor` times coarser, whatever it touches."""
    return Rect(area.top // factor, area.left // factor, -(-area.bottom // factor), -(-area.right // factor))


def synthesise(
    model: Model, latent: Tensor, quality: Tensor, view: View, own: PostFilter | None, finisher: Translator | None
) -> Tensor:
    """The picture of a region of latents (1, M, h, w), (1, 3, 16h / scale, 16w / scale) in -1..1."""
    synthesis = model.transforms.synthesis
    base, features = synthesis.features(latent, quality)
    scale = 1 if finisher else view.scale
    picture = assemble(base, synthesis.bands(base, features, quality, scale), scale)
    if own:
        near = own(picture, scale)  # the nearer to the original, the smoother: realism does without
        picture = near.lerp(picture, realistic.strength(quality, view.realism)) if view.realism else near
    if finisher is None:
        return picture
    picture = realistic.finish(finisher, picture, features, quality, view.realism)
    for _ in range(view.scale.bit_length() - 1):
        picture = reduce(picture)
    return picture


@isolated
@torch.inference_mode()
def _bands(latents: _Latents, view: View, progress: Progress) -> Iterator[NDArray[np.uint8]]:
    """What is wanted from top to bottom: (h, w, header.channels) of the full width, a row of pieces high."""
    model, header, unit = latents.model, latents.header, LATENT // view.scale
    whole = view.area(header)
    wanted, cover = _shrunk(whole, view.scale), _shrunk(whole, LATENT)
    own = postfilter.read(model, header.chunks)
    if realistic.strength(latents.quality, view.realism) == 1:  # which leaves nothing of it
        own = None
    finisher = realistic.load(model) if view.realism else None
    margin = halo(model.config) + (realistic.reach(finisher) if finisher else 0)
    coded = 3 if header.pixel_format == PixelFormat.RGB else 1
    edge = view.piece or piece_edge(cover)
    done, count = 0, len(list(cover.cut(edge)))
    for top in range(cover.top, cover.bottom, edge):
        row = Rect(top, cover.left, min(top + edge, cover.bottom), cover.right)
        strip = row.times(unit).grow(0, wanted)
        below = row.bottom - margin if row.bottom < cover.bottom else latents.bounds.bottom
        band = None
        for area in row.cut(edge):
            fit_threads()
            seen = area.grow(margin, latents.bounds)
            picture = synthesise(model, latents.region(seen, below), latents.quality, view, own, finisher)
            rows, columns = area.times(unit).within(seen.times(unit))
            shown = to_pixels(picture[0, :, rows, columns], coded)
            if band is None:
                shape = (strip.height, strip.width, header.channels)
                band = np.empty(shape, np.uint8)  # once the first tile proved whole
            shared = area.times(unit).grow(0, wanted)
            wanted_part = shown[shared.within(area.times(unit))]  # (h, w, coded)
            torch.from_numpy(band)[shared.within(strip)].copy_(wanted_part)  # one channel is copied to all three
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
    return _bands(_Latents(model, header, tiles, salvage=False), view, progress)


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
            their surroundings; None to raise `Error` for them.

    Returns:
        (h, w, 3) RGB or (h, w) grey, uint8.

    Raises:
        ValueError: the crop is not within the picture, the scale is not one of those or the realism is out of range.
        bitstream.Error: a payload is damaged, or the model has no realistic decoder.
    """
    wanted = _shrunk(view.area(header), view.scale)
    latents = _Latents(model, header, tiles, salvage=missing is not None)
    out, top = None, 0
    for band in _bands(latents, view, progress):
        if len(band) == wanted.height:
            out = band
            break
        if out is None:
            out = np.empty((wanted.height, *band.shape[1:]), np.uint8)
        out[top : top + len(band)] = band
        top += len(band)
    assert out is not None
    latents.missing.sort(key=lambda rect: (rect.top, rect.left))  # tiles decode side by side
    if missing is not None and latents.missing:
        whole = Rect(0, 0, header.height, header.width)
        missing += [rect.times(LATENT).grow(0, whole) for rect in latents.missing]
        unit = LATENT // view.scale
        grown = [
            rect.grow(1, latents.bounds).times(unit).grow(0, wanted) for rect in latents.missing
        ]  # its edge suffers
        fill(out, [Rect(r.top - wanted.top, r.left - wanted.left, r.bottom - wanted.top, r.right - wanted.left)
                   for r in grown if r.height > 0 and r.width > 0])  # fmt: skip
    return out if out.shape[2] == 3 else out[:, :, 0]
