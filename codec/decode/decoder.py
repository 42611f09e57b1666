"""Decoding: container -> ANS -> hyperprior -> ANS -> inverse gain -> synthesis -> pyramid -> collapse -> picture."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapic.bitstream import Header, PixelFormat, Tile
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.decode import picture_filter
from lapic.codec.decode import realism as realistic
from lapic.codec.decode.picture_filter import PostFilter
from lapic.codec.decode.symbols import _Latents
from lapic.codec.host import isolated
from lapic.codec.model.codec_weights import Model
from lapic.codec.nets.network import assemble
from lapic.codec.nets.pyramid import reduce
from lapic.codec.nets.translator import Translator
from lapic.codec.picture.fill import fill
from lapic.codec.picture.tensors import to_pixels
from lapic.codec.picture.tiling import LATENT, Rect, halo, piece_edge
from lapic.codec.threads import fit_threads


@dataclass(frozen=True)
class View:
    """What of a picture is decoded, and how.

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
    own = picture_filter.read(model, header.chunks)
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
