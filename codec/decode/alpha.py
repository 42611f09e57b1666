"""The alpha channel of a decode, on the grid of its colours."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lapic.bitstream import Header
from lapic.codec.decode.decoder import Frame, View, joined, smaller
from lapic.codec.picture.tensors import region, to_pixels
from lapic.codec.picture.tiling import latent_bounds

HALO = 1  # latents beyond a piece that its reduced alpha depends on


class Levels(Protocol):
    """What is cut like an array (H, W), uint8: an array, or rows on disk, which are cut from top to bottom."""

    def __getitem__(self, cut: tuple[slice, slice], /) -> NDArray[np.uint8]:
        """Rows and columns by slices with both ends."""


def alpha_of(alpha: NDArray[np.uint8], view: View, header: Header) -> NDArray[np.uint8]:
    """The part of an alpha channel (H, W), uint8, that a view shows, (h, w): on the grid of the colours, and reduced as
    they are, the border repeated. Raises ValueError as `View.area`."""
    output_rect = Frame.of(view, header, latent_bounds(header.width, header.height), HALO).output_rect
    if view.scale == 1:
        return alpha[output_rect.top : output_rect.bottom, output_rect.left : output_rect.right]
    return joined(alpha_bands(alpha, view, header), output_rect.height)[:, :, 0]


@torch.inference_mode()
def alpha_bands(alpha: Levels, view: View, header: Header) -> Iterator[NDArray[np.uint8]]:
    """What `alpha_of` returns, in bands (h, w, 1) from top to bottom that lie beside those of `decode_bands`."""
    frame = Frame.of(view, header, latent_bounds(header.width, header.height), HALO)
    for row_rect in frame.rows():
        band_rect = frame.output_of(row_rect)
        if view.scale == 1:
            yield alpha[band_rect.top : band_rect.bottom, band_rect.left : band_rect.right][..., None]
            continue
        band = np.empty((band_rect.height, band_rect.width, 1), np.uint8)
        for piece_rect, input_rect in frame.pieces(row_rect):
            levels = region(alpha, input_rect, torch.device("cpu"))[:, :1].contiguous()
            picture = smaller(levels, view.scale)
            part = frame.output_of(piece_rect)
            rows, columns = part.within(input_rect.times(frame.unit))
            band[part.within(band_rect)] = to_pixels(picture[0, :, rows, columns], 1).numpy()
        yield band
