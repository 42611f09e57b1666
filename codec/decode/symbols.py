"""The symbols and latents of tiles, decoded when they are needed."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from lapic.bitstream import Error, Header, Tile, TileDecoder, read_payload
from lapic.codec.exact.context import Coded, Pass
from lapic.codec.exact.dispatch import runs_kernels
from lapic.codec.host import isolated
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import code_latents, shown_latents
from lapic.codec.nets import levels
from lapic.codec.picture.tiling import LATENT, Rect, copy_shared, latent_bounds, tile_edge
from lapic.codec.threads import set_threads

AT_ONCE = 2  # tiles: one's entropy decoding, on one core, goes on while the other's networks compute


def decode_symbols(model: Model, header: Header, tile: Tile, rect: Rect) -> tuple[Tensor, Coded]:
    """The integers of one tile, on the model's device.

    Returns:
        the hyper-latent z (Z, h4, w4) int16, and means, scale indices and symbols, each (1, M, h, w), as floats.

    Raises:
        bitstream.Error: the payload is damaged.
    """
    payload = read_payload(tile.payload)
    if len(payload.lanes) > 1 and runs_kernels(model.device):
        from lapic.codec.gpu import entropy_decode, packed

        if packed.fits(payload):
            return entropy_decode.decode_symbols(model, header, tile, rect, payload)
    quality = levels.fixed_point(header.quality, model.device)
    decoder = TileDecoder(model.tables, model.level(quality), payload)
    z = decoder.hyper(-(-rect.height // 4), -(-rect.width // 4))
    symbols = np.zeros((model.config.latent, rect.height, rect.width), np.int16)

    def visit(part: Pass, _: Tensor, index: Tensor) -> Tensor:
        here = index[0].to(torch.uint8).contiguous().cpu().numpy()
        at = ... if part.places is None else (slice(None), part.places.cpu().numpy())
        symbols[part.channels][at] = decoder.latent(here[at])
        return torch.from_numpy(symbols[None, part.channels]).to(model.device, torch.float32)

    hyper = torch.from_numpy(z).to(model.device, torch.int16)
    coded = code_latents(model, hyper[None].float(), quality, (rect.height, rect.width), visit)
    decoder.finish(symbols, tile.crc)
    return hyper, coded


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
        self.quality = levels.fixed_point(header.quality, model.device)
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
            _, coded = decode_symbols(self.model, self.header, self.tiles[rect], rect)
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
