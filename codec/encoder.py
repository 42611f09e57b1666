"""Encoding: picture -> analysis -> gain -> hyperprior -> symbols -> ANS -> container."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bitstream import Header, PixelFormat, Tile, encode_tile, symbols_crc, write
from codec import hyper
from codec.model import Model
from codec.quantise import quantise
from codec.tiling import LATENT, PIECE, Rect, halo, latent_bounds, tile_edge

Progress = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """The default listener: `done` of `total` tiles are finished."""


@torch.inference_mode()
def encode_pixels(
    model: Model,
    pixels: NDArray[np.uint8],
    quality: float,
    tile: int = 1024,
    chunks: dict[bytes, bytes] | None = None,
    progress: Progress = no_progress,
) -> bytes:
    """Encode a picture to the bytes of a file.

    Args:
        pixels: (H, W, 3) RGB or (H, W) grey.
        quality: 1..100, in steps of 1/256.
        tile: edge of the entropy-coded tiles in pixels, 64 times a power of two, or 0 for one tile.
        chunks: metadata by chunk type, see `bitstream.container`.
        progress: called with the tiles done and the tiles in all.

    Raises:
        ValueError: quality or tile is out of range.
    """
    height, width = pixels.shape[:2]
    pixel_format = PixelFormat.RGB if pixels.ndim == 3 else PixelFormat.GREY
    header = Header(width, height, pixel_format, quality, model.identity, tile, chunks or {})
    header.check()
    fixed = hyper.fixed_point(quality, model.device)
    bounds = latent_bounds(width, height)
    edge = tile_edge(tile, bounds)
    rects = list(bounds.cut(edge))
    tiles: dict[Rect, Tile] = {}
    for piece in bounds.cut(max(edge, PIECE)):
        seen = piece.grow(halo(model.config), bounds)
        latent = model.transforms.analysis(_region(pixels, seen, model.device))
        rows, columns = piece.within(seen)
        latent = latent[:, :, rows, columns]  # (1, M, h, w)
        for rect in piece.cut(edge):
            rows, columns = rect.within(piece)
            tiles[rect] = _encode_tile(model, latent[:, :, rows, columns], fixed)
            progress(len(tiles), len(rects))
    return write(header, [tiles[rect] for rect in rects])


def _region(pixels: NDArray[np.uint8], rect: Rect, device: torch.device) -> Tensor:
    """The pixels of a rectangle of latents as (1, 3, 16h, 16w) in -1..1, the picture's border repeated outwards."""
    area = rect.times(LATENT)
    part = pixels[area.top : area.bottom, area.left : area.right]
    missing = [(0, area.height - part.shape[0]), (0, area.width - part.shape[1])]
    part = np.pad(part.reshape(*part.shape[:2], -1), [*missing, (0, 0)], mode="edge")
    picture = torch.from_numpy(part).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1
    return picture.expand(1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def _encode_tile(model: Model, latent: Tensor, quality: Tensor) -> Tile:
    """Entropy-code one tile's latents, (1, M, h, w)."""
    gained = latent * model.transforms.gain(quality)
    height, width = gained.shape[-2:]
    padded = F.pad(gained, (0, -width % 4, 0, -height % 4), mode="replicate")
    z = model.transforms.hyper_analysis(padded).round().clamp(-hyper.HYPER_LATENT_MAX, hyper.HYPER_LATENT_MAX)
    mean, index = hyper.hyper_synthesis(z, quality, model.integers)
    mean, index = mean[..., :height, :width], index[..., :height, :width]
    symbols = quantise(gained - mean / hyper.MEAN_ONE, index, model.threshold)
    z_, symbols_, index_ = (
        tensor[0].to(kind).contiguous().cpu().numpy()
        for tensor, kind in ((z, torch.int8), (symbols, torch.int16), (index, torch.uint8))
    )
    return Tile(encode_tile(model.tables, z_, symbols_, index_), symbols_crc(z_, symbols_))
