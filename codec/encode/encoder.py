"""Encoding: picture -> analysis -> gain -> hyperprior -> symbols -> ANS -> container."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lapic.bitstream import Header, PixelFormat, Tile, encode_tile, lanes_for, symbols_crc, write
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.defaults import DEFAULT_TUNE, TUNES
from lapic.codec.encode import filter_fit
from lapic.codec.encode.draft import Draft, Rounded, pieces_at_once
from lapic.codec.encode.search import search
from lapic.codec.exact import hyper
from lapic.codec.exact.context import low_channels, split
from lapic.codec.exact.quantise import pass_quantiser
from lapic.codec.host import isolated
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import code_latents
from lapic.codec.model.qualities import part_of, qualities_of
from lapic.codec.nets import levels
from lapic.codec.picture.tensors import region
from lapic.codec.picture.tiling import Rect, analysis_halo, latent_bounds, piece_edge, tile_edge
from lapic.codec.threads import fit_threads, in_threads_as_they_come, threads_for

FEW = 8192  # latents of a piece whose sums and shuffles take less time than the workers' wait for torch's other threads


@isolated
def encode_pixels(
    model: Model,
    pixels: NDArray[np.uint8],
    quality: float,
    tile: int = 1024,
    chunks: dict[bytes, bytes] | None = None,
    progress: Progress = no_progress,
    effort: int = 0,
    piece: int = 0,
    lanes: bool = False,
    tune: str = DEFAULT_TUNE,
) -> bytes:
    """Encode a picture to the bytes of a file.

    Args:
        pixels: (H, W, 3) RGB or (H, W) grey; without effort anything whose rows can be sliced once, from top to bottom.
        quality: 1..100, in steps of 1/256.
        tile: edge of the entropy-coded tiles in pixels, 64 times a power of two, or 0 for one tile.
        chunks: metadata by chunk type, see `bitstream.container`.
        progress: called with the parts done and the parts in all: tiles, or with effort pieces of the search.
        effort: 0..9, how long to search for better symbols, see `codec.encode.search`.
        piece: edge, in latents, of the squares that are analysed at a time, a multiple of a tile's, unless a tile is
            larger; 0 for `tiling.piece_edge`.
        lanes: split each tile's data into lanes that are decoded in parallel, see `bitstream.entropy`.
        tune: what the search lowers: square errors ("psnr") or those of `codec.encode.appearance` ("eye").

    Raises:
        ValueError: quality, tile, effort or tune is out of range.
    """
    header = header_of(model, pixels, quality, tile, chunks)
    return encode_latents(model, header, analyse(model, pixels, tile, piece), pixels, effort, progress, lanes, tune)


def header_of(
    model: Model, pixels: NDArray[np.uint8], quality: float, tile: int, chunks: dict[bytes, bytes] | None
) -> Header:
    """The header of a picture. Raises ValueError: quality or tile is out of range."""
    height, width = pixels.shape[:2]
    pixel_format = PixelFormat.RGB if pixels.ndim == 3 else PixelFormat.GREY
    header = Header(width, height, pixel_format, quality, model.identity, tile, chunks or {})
    header.check()
    return header


@isolated
def analyse(model: Model, pixels: NDArray[np.uint8], tile: int, piece: int = 0) -> Iterator[tuple[Rect, Tensor]]:
    """The latents y of each tile, (1, M, h, w), with its place, piece by piece; the same for every quality."""
    bounds = latent_bounds(pixels.shape[1], pixels.shape[0])
    edge = tile_edge(tile, bounds)
    for piece_rect in bounds.cut(max(edge, piece or piece_edge(bounds))):
        fit_threads()
        input_rect = piece_rect.grow(analysis_halo(model.config), bounds)
        few = input_rect.height * input_rect.width <= FEW
        with threads_for(1) if few else nullcontext():
            latent = model.transforms.analysis(region(pixels, input_rect, model.device))  # (1, M, h + halo, w + halo)
        latent = latent[:, :, *piece_rect.within(input_rect)]  # (1, M, h, w)
        for tile_rect in piece_rect.cut(edge):
            yield tile_rect, latent[:, :, *tile_rect.within(piece_rect)]


@isolated
def encode_latents(
    model: Model,
    header: Header,
    latents: Iterable[tuple[Rect, Tensor]],
    pixels: NDArray[np.uint8],
    effort: int = 0,
    progress: Progress = no_progress,
    lanes: bool = False,
    tune: str = DEFAULT_TUNE,
) -> bytes:
    """The bytes of a file from the latents of all its tiles, as `analyse` gives them, and the pixels they came from.

    With effort 0 the latents of tiles are freed once they are coded; with more all are kept, 26 bytes a pixel. Raises
    ValueError as `encode_pixels`.
    """
    if tune not in TUNES:
        raise ValueError(f"tune {tune!r} is none of {', '.join(TUNES)}")
    fixed, qualities = levels.fixed_point(header.quality, model.device), qualities_of(header, model.device)
    bounds, most = latent_bounds(header.width, header.height), pieces_at_once(model.device)
    rects = list(bounds.cut(tile_edge(header.tile, bounds)))

    def round_tile(part: tuple[Rect, Tensor]) -> tuple[Rect, Rounded]:
        rect, latent = part
        return rect, round_latents(model, latent, part_of(qualities, rect.within(bounds)))

    def encode_tile(part: tuple[Rect, Rounded]) -> tuple[Rect, Tile]:
        rect, tile = part
        return rect, code_tile(model, tile, model.level(fixed), lanes)

    rounded: Iterable[tuple[Rect, Rounded]] = in_threads_as_they_come(round_tile, latents, most, spread=True)
    if effort:
        draft = Draft(dict(rounded), bounds, partial(region, pixels, device=model.device), pixels.shape, qualities)
        errors = search(model, draft, effort, progress, tune)
        header = replace(header, chunks=header.chunks | filter_fit.chunk(model, qualities, errors, tune))
        rounded, progress = draft.tiles.items(), no_progress
    tiles: dict[Rect, Tile] = {}
    for rect, coded in in_threads_as_they_come(encode_tile, rounded, most, spread=True):
        tiles[rect] = coded
        progress(len(tiles), len(rects))
    return write(header, [tiles[rect] for rect in rects])


def round_latents(model: Model, latent: Tensor, quality: Tensor) -> Rounded:
    """Quantise a tile's latents, (B, M, h, w), at fixed-point qualities (B,) or those of each place, (B, h, w)."""
    gained = latent.contiguous() * model.transforms.gain(quality)  # plane by plane, like the context's tensors
    height, width = gained.shape[-2:]
    padded = F.pad(gained, (0, -width % 4, 0, -height % 4), mode="replicate")
    with threads_for(1):  # with more it may add in another order
        z = model.transforms.hyper_analysis(padded)
    z = z.round().clamp(-hyper.HYPER_LATENT_MAX, hyper.HYPER_LATENT_MAX)

    code_pass = pass_quantiser(gained, model.threshold)
    return Rounded(z, code_latents(model, z, quality, (height, width), code_pass))


def code_tile(model: Model, rounded: Rounded, level: int, lanes: bool) -> Tile:
    """Entropy-code one tile, its hyper-latent by the tables of a rate level, as one lane or as many."""
    coded, low = rounded.coded, low_channels(model.integers)
    z, symbols, index = (
        tensor[0].to(kind).contiguous().cpu().numpy()
        for tensor, kind in ((rounded.z, torch.int8), (coded.symbol, torch.int16), (coded.index, torch.uint8))
    )
    passes = list(zip(split(symbols, low), split(index, low), strict=True))
    payload = encode_tile(model.tables, level, z, passes, lanes_for(np.count_nonzero(symbols)) if lanes else 1)
    return Tile(payload, symbols_crc(z, symbols))
