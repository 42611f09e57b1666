"""Which planes of a picture are coded: hidden colours are filled smoothly, three equal channels become one."""

import numpy as np
from numpy.typing import NDArray

from lapic.bitstream.container import ALPHA, AS_RGB, MODE
from lapic.codec.picture import fill, pillow

SPARSE = 64  # rows of which one is looked at first, to find colour early


def simplify(
    pixels: NDArray[np.uint8], chunks: dict[bytes, bytes], keep_hidden: bool = False
) -> tuple[NDArray[np.uint8], dict[bytes, bytes]]:
    """A picture as it is coded, from pixels (H, W, 3) or (H, W) and chunks as `picture.from_pil` gives them.

    Where alpha is 0 the colours are filled from around, as nobody sees them, unless `keep_hidden`. RGB pixels whose
    channels are equal become grey (H, W), with a chunk that has the decoder give them back as RGB.
    """
    if ALPHA in chunks and not keep_hidden:
        pixels = fill_hidden(pixels, chunks)
    if is_grey(pixels):
        return np.ascontiguousarray(pixels[..., 0]), chunks | {MODE: AS_RGB}
    return pixels, chunks


def fill_hidden(pixels: NDArray[np.uint8], chunks: dict[bytes, bytes]) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) or (H, W) with those that the alpha chunk hides (alpha 0) filled smoothly from the others."""
    alpha = pillow.read_alpha(chunks, pixels.shape[1::-1])
    seen = np.asarray(alpha) > 0
    if seen.all():
        return pixels
    filled = pixels.copy()
    fill.fill_unknown(filled, seen)
    return filled


def is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Whether pixels are (H, W, 3) with three channels that are equal everywhere."""
    return pixels.ndim == 3 and all(
        np.array_equal(part[..., 0], part[..., other]) for part in (pixels[::SPARSE], pixels) for other in (1, 2)
    )
