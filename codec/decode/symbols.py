"""The symbols and latents of tiles, decoded when they are needed."""

import numpy as np
import torch
from torch import Tensor

from lapic.bitstream import Error, Header, Tile, TileDecoder, read_payload
from lapic.codec.exact.context import Coded, Pass
from lapic.codec.exact.dispatch import runs_kernels
from lapic.codec.host import isolated
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import code_latents, shown_latents
from lapic.codec.model.qualities import part_of, qualities_of
from lapic.codec.nets import levels
from lapic.codec.picture.tiling import LATENT, Rect, copy_shared, latent_bounds, tile_edge
from lapic.codec.threads import in_threads

TILES_AT_ONCE = 4  # which bounds the memory
TILES_ON_GPU = 2  # the entropy decoding of one tile, on one core, runs beside the networks of another


def decode_symbols(model: Model, header: Header, tile: Tile, rect: Rect) -> tuple[Tensor, Coded]:
    """The integers of one tile, on the model's device.

    Returns:
        the hyper-latent z (Z, h4, w4) int16, and means, scale indices and symbols, each (1, M, h, w), as floats.

    Raises:
        bitstream.Error: the payload is damaged.
    """
    payload = read_payload(tile.payload)
    quality, qualities = levels.fixed_point(header.quality, model.device), qualities_of(header, model.device)
    if len(payload.lanes) > 1 and runs_kernels(model.device) and qualities.ndim == 1:
        from lapic.codec.gpu import entropy_decode, packed

        if packed.fits(payload):
            return entropy_decode.decode_symbols(model, header, tile, rect, payload)
    decoder = TileDecoder(model.tables, model.level(quality), payload)
    z = decoder.hyper(-(-rect.height // 4), -(-rect.width // 4))
    symbols = np.zeros((model.config.latent, rect.height, rect.width), np.int16)

    def code_pass(part: Pass, _: Tensor, index: Tensor) -> Tensor:
        indices = index[0].to(torch.uint8).contiguous().cpu().numpy()
        places = ... if part.places is None else (slice(None), part.places.cpu().numpy())
        symbols[part.channels][places] = decoder.latent(indices[places])
        return torch.from_numpy(symbols[None, part.channels]).to(model.device, torch.float32)

    hyper = torch.from_numpy(z).to(model.device, torch.int16)
    here = part_of(qualities, rect.within(latent_bounds(header.width, header.height)))
    coded = code_latents(model, hyper[None].float(), here, (rect.height, rect.width), code_pass)
    decoder.finish(symbols, tile.crc)
    return hyper, coded


class TileLatents:
    """The latents y^ of a picture: tiles are decoded when first needed, and rows are freed once passed.

    With `salvage` a damaged tile is noted in `missing`, and its latents are 0; else it raises `Error`. Rectangles count
    latents.
    """

    def __init__(self, model: Model, header: Header, tiles: list[Tile], salvage: bool) -> None:
        self.salvage = salvage
        self.missing: list[Rect] = []
        self.model, self.header = model, header
        self.bounds = latent_bounds(header.width, header.height)
        self.edge = tile_edge(header.tile, self.bounds)
        # None for a damaged tile
        self.tiles: dict[Rect, Tile | None] = dict(zip(self.bounds.cut(self.edge), tiles, strict=True))
        self.held: dict[Rect, tuple[Rect, Tensor]] = {}  # by tile: the part of it that is in memory
        self.qualities = qualities_of(header, model.device)

    def qualities_at(self, rect: Rect) -> Tensor:
        """Fixed-point qualities of a rectangle, (1,) or of its places (1, h, w)."""
        return part_of(self.qualities, rect.within(self.bounds))

    def touched(self, rect: Rect) -> list[Rect]:
        """The tiles that overlap a rectangle."""
        rows = range(rect.top // self.edge, -(-rect.bottom // self.edge))
        columns = range(rect.left // self.edge, -(-rect.right // self.edge))
        corners = [
            Rect(r * self.edge, c * self.edge, (r + 1) * self.edge, (c + 1) * self.edge) for r in rows for c in columns
        ]
        return [corner.grow(0, self.bounds) for corner in corners]

    def region(self, input_rect: Rect, next_top: int) -> Tensor:
        """y^ of a rectangle, (1, M, h, w). Rectangles must come in rows from top to bottom, from left to right.

        Args:
            next_top: the first row of latents that the rectangles of the next row contain.
        """
        self._free(input_rect, next_top)
        shape = (1, self.model.config.latent, input_rect.height, input_rect.width)
        out = torch.empty(shape, dtype=torch.float32, device=self.model.device, memory_format=torch.channels_last)
        fresh = [tile for tile in self.touched(input_rect) if tile not in self.held]
        self.held |= {tile: (tile, latent) for tile, latent in zip(fresh, self._decoded(fresh), strict=True)}
        copy_shared(dict(self.held.values()), out, input_rect)
        return out

    def _free(self, input_rect: Rect, next_top: int) -> None:
        """Free the rows of latents that neither `input_rect` nor later rectangles contain."""
        held, self.held = self.held, {}
        for tile, part in held.items():
            first = next_top if tile.right <= input_rect.left else input_rect.top
            if tile.bottom > first:
                self.held[tile] = _rows_from(first, *part)

    def _decoded(self, tiles: list[Rect]) -> list[Tensor]:
        """y^ of some tiles, in parallel if there are threads for it."""
        most = TILES_AT_ONCE if self.model.device.type == "cpu" else TILES_ON_GPU
        return in_threads(self._tile, tiles, most, spread=True)

    @torch.inference_mode()
    def _tile(self, rect: Rect) -> Tensor:
        """y^ of one tile, (1, M, h, w)."""
        tile = self.tiles[rect]
        if tile is not None:
            try:
                _, coded = decode_symbols(self.model, self.header, tile, rect)
                return shown_latents(self.model, coded) / self.model.transforms.gain(self.qualities_at(rect))
            except Error:
                if not self.salvage:
                    raise
                self.missing.append(rect)
                self.tiles[rect] = None
        shape = (1, self.model.config.latent, rect.height, rect.width)
        return torch.zeros(shape, dtype=torch.float32, device=self.model.device)


def _rows_from(top: int, rect: Rect, latent: Tensor) -> tuple[Rect, Tensor]:
    """The part of a rectangle's latents (1, M, h, w) at row `top` and below. It is copied, so that the rest is freed,
    once that is more than half."""
    if top - rect.top <= rect.height // 2:
        return rect, latent
    return Rect(top, rect.left, rect.bottom, rect.right), latent[:, :, top - rect.top :].clone()


@isolated
def damaged_tiles(model: Model, header: Header, tiles: list[Tile]) -> list[Rect]:
    """The tiles whose symbols cannot be decoded or do not match their checksum, in pixels of the picture."""
    bounds = latent_bounds(header.width, header.height)
    damaged = []
    for rect, tile in zip(bounds.cut(tile_edge(header.tile, bounds)), tiles, strict=True):
        try:
            decode_symbols(model, header, tile, rect)
        except Error:
            damaged.append(rect.times(LATENT).grow(0, Rect(0, 0, header.height, header.width)))
    return damaged
