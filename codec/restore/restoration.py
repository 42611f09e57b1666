"""Restoration of pictures by translators; metadata and alpha are kept.

restore: picture -> decompose -> Laplacian pyramid -> [translator for that damage] -> collapse -> picture
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lapic.bitstream.container import ICC
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.model.translator_weights import load
from lapic.codec.picture import colour, pillow, planes
from lapic.codec.restore.translation import count_pieces, translate_pixels

RESTORERS = {
    "jpeg": "jpeg",
    "denoise": "camera",
    "deblur": "camera",
    "upscale": "camera",
}  # task -> its weights
LOOKS = {"faithful": "", "realistic": "-realistic"}  # look -> suffix of the name of the weights
LOSSY_FORMATS = {"JPEG", "MPO", "WEBP", "AVIF", "HEIF", "JXL", "JPEG2000", "LAPIC"}
LOSSY_COMPRESSIONS = {"jpeg", "tiff_jpeg", "webp"}  # of TIFF
VISIBLE_NOISE = 10.0  # grey levels of standard deviation from which "auto" denoises


def noise_level(pixels: NDArray[np.uint8]) -> float:
    """Estimate the standard deviation of white noise in grey levels, from pixels (H, W, 3) or (H, W), 0..255.

    The 20th percentile over the blocks of the picture of the median absolute diagonal Haar coefficient,
    divided by 0.6745 (Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994):
    some blocks have no texture, but all have noise.
    """
    grey = pixels.astype(np.float32) if pixels.ndim == 2 else pixels[..., 1].astype(np.float32)
    height, width = (edge // 2 * 2 for edge in grey.shape)
    if not height * width:
        return 0.0
    grey = grey[:height, :width]
    diagonal = np.abs(grey[::2, ::2] - grey[1::2, ::2] - grey[::2, 1::2] + grey[1::2, 1::2]) / 2
    blocks = [
        np.median(diagonal[top : top + 32, left : left + 32])
        for top in range(0, max(1, height // 2 - 31), 32)
        for left in range(0, max(1, width // 2 - 31), 32)
    ]
    return float(np.percentile(blocks, 20)) / 0.6745


def is_lossy(image: Any) -> bool:
    """Whether an image was read from a file of lossy compression. Formats that can be either count as lossy, but for
    WebP that is known to be lossless, see `pillow.is_lossless_webp`."""
    form = getattr(image, "format", None)  # what is no image is refused elsewhere
    if form == "TIFF":
        return image.info.get("compression") in LOSSY_COMPRESSIONS
    return form in LOSSY_FORMATS and not pillow.is_lossless_webp(image)


def pick_task(lossy: bool, pixels: NDArray[np.uint8]) -> str:
    """The task for "auto": jpeg for pictures from lossy files, denoise for visible noise, else jpeg."""
    return "jpeg" if lossy or noise_level(pixels) < VISIBLE_NOISE else "denoise"


def map_pixels(image: Image.Image, function: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Image.Image:
    """Apply a function to the pixels of an image of any mode.

    Colours under alpha 0 do not reach the visible ones: the function gets them filled smoothly from around, and where
    it keeps the shape they stay as they are.

    Args:
        function: uint8 pixels (H, W, 3) or (H, W) -> such pixels of any size.

    Returns:
        An image of mode L, LA, RGB or RGBA with the same metadata; alpha is resized with the pixels. If colour becomes
        grey, the ICC profile becomes a grey one of the same curve, or is left out.
    """
    before, chunks = pillow.from_pil(image)
    alpha = pillow.read_alpha(chunks, before.shape[1::-1])
    levels = None if alpha is None else np.asarray(alpha)
    after = function(before if levels is None else planes.fill_hidden(before, levels))
    if levels is not None and before.shape == after.shape:
        after = after.copy()
        after[levels == 0] = before[levels == 0]
    elif alpha is not None and before.shape[:2] != after.shape[:2]:
        alpha = alpha.resize(after.shape[1::-1], Image.Resampling.BICUBIC)
    if before.ndim > after.ndim and ICC in chunks:
        profile, _ = colour.fit(chunks.pop(ICC), grey=True)
        chunks |= {ICC: profile} if profile else {}
    return pillow.to_pil(after, alpha, chunks)


def restore_pixels(
    pixels: NDArray[np.uint8],
    task: str,
    device: str,
    strength: float = 1.0,
    scale: int = 2,
    look: str = "faithful",
    progress: Progress = no_progress,
) -> NDArray[np.uint8]:
    """Restore pixels (H, W, 3) or (H, W), uint8.

    Args:
        task: a key of RESTORERS. look: a key of LOOKS. scale: 2 or 4, for the task "upscale".
        strength: 0..1, the part of the change that is made. device: "cpu", "cuda" or "cuda:N".

    Returns:
        Pixels of the same shape; for "upscale" `scale` times as high and wide.

    Raises:
        Error: the weights cannot be read.
    """
    translator = load(RESTORERS[task] + LOOKS[look], device)
    if task != "upscale":
        return translate_pixels(translator, pixels, task, strength, progress)
    sizes = [(factor * pixels.shape[1], factor * pixels.shape[0]) for factor in (2, 4) if factor <= scale]
    steps = [count_pieces(*size) for size in sizes]
    for number, size in enumerate(sizes):

        def report(done: int, _: int, before: int = sum(steps[:number])) -> None:
            progress(before + done, sum(steps))

        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
        pixels = translate_pixels(translator, pixels, task, strength, report)
    return pixels
