"""Which planes of a picture are coded: hidden colours are filled smoothly, three equal channels become one."""

import numpy as np
from numpy.typing import NDArray

from lapic.bitstream.container import ALPHA, AS_RGB, MODE
from lapic.codec.picture import fill, pillow

SPARSE = 64  # every 64th row is compared first, which finds colour early in most pictures


def simplify(
    pixels: NDArray[np.uint8], chunks: dict[bytes, bytes], keep_hidden: bool = False
) -> tuple[NDArray[np.uint8], dict[bytes, bytes]]:
    """The pixels and chunks that are coded for a picture.

    Colours under alpha 0 are invisible, and are filled smoothly from around unless `keep_hidden`. RGB pixels whose
    channels are equal become grey (H, W), with a chunk that makes the decoder return them as RGB.

    Args:
        pixels, chunks: (H, W, 3) or (H, W), uint8, alpha and metadata, as `pillow.from_pil` returns them.
    """
    if ALPHA in chunks and not keep_hidden:
        pixels = fill_hidden(pixels, np.asarray(pillow.read_alpha(chunks, pixels.shape[1::-1])))
    if is_grey(pixels):
        return np.ascontiguousarray(pixels[..., 0]), chunks | {MODE: AS_RGB}
    return pixels, chunks


def fill_hidden(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) or (H, W) with those that alpha (H, W) hides (alpha 0) filled smoothly from the others."""
    visible = alpha > 0
    if visible.all():
        return pixels
    filled = pixels.copy()
    fill.fill_unknown(filled, visible)
    return filled


def in_colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (H, W, 3), or grey ones (H, W), as (H, W, 3)."""
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Whether pixels are (H, W, 3) with three channels that are equal everywhere."""
    return pixels.ndim == 3 and all(
        np.array_equal(part[..., 0], part[..., other]) for part in (pixels[::SPARSE], pixels) for other in (1, 2)
    )
