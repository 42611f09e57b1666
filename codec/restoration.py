"""Pictures through a translator: restored or in another style, whole or in pieces, metadata and alpha kept.

restore: picture -> decompose -> Laplacian pyramid -> [translator for that damage] -> collapse -> picture
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bitstream import Error
from bitstream.container import ICC
from codec import colour, picture
from codec.decoder import to_pixels
from codec.encoder import Progress, no_progress, region
from codec.host import isolated
from codec.lptn import LPTN
from codec.threads import fit_threads
from codec.tiling import LATENT, PIECE, latent_bounds
from codec.translator import halo
from codec.translators import Loaded, load

RESTORERS = {"jpeg": "jpeg", "denoise": "camera", "deblur": "camera", "upscale": "camera"}  # the weights for each task
LOOKS = {"faithful": "", "realistic": "-realistic"}  # what the name of those weights ends in
LOSSY = {"JPEG", "MPO", "WEBP", "AVIF"}
VISIBLE_NOISE = 10.0  # grey levels


def noise_level(pixels: NDArray[np.uint8]) -> float:
    """Estimate the standard deviation of white noise in grey levels, from pixels (H, W, 3) or (H, W).

    A low one (the 20th percentile) over the blocks of the picture of the median absolute diagonal Haar coefficient,
    divided by 0.6745 (Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994): texture
    is somewhere absent, noise nowhere.
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


def pick_task(image: Image.Image, pixels: NDArray[np.uint8]) -> str:
    """The task that "auto" means: jpeg for pictures from lossy files, denoise for noise that can be seen, else jpeg."""
    if image.format in LOSSY or noise_level(pixels) < VISIBLE_NOISE:
        return "jpeg"
    return "denoise"


def _to_pixels(result: Tensor, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(1, 3, h, w) in -1..1 -> (h, w, 3), or (h, w) if `like` is grey."""
    shown = to_pixels(result[0], 3 if like.ndim == 3 else 1).cpu().numpy()
    return shown.reshape(*shown.shape[:2], *like.shape[2:])


@isolated
@torch.inference_mode()
def translate_pixels(
    loaded: Loaded, pixels: NDArray[np.uint8], task: str = "", strength: float = 1.0, progress: Progress = no_progress
) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) or (H, W), uint8, through a translator; the result has the same shape.

    Our translator works in pieces with the surroundings that it can see, so memory is bounded and no seam shows. LPTN
    normalises over the picture and is given all of it at once.

    Args:
        task: one of the translator's; its only one if empty. strength: 0..1, the share of the change that is made.

    Raises:
        Error: the translator does not know the task, or the picture is too small for it.
    """
    if isinstance(loaded.net, LPTN):
        return _lptn(loaded, pixels, strength)
    if loaded.net.config.beside:
        raise Error(f"{loaded.name} is a realistic decoder, which cannot do without a file: see --realism")
    if (not task and len(loaded.tasks) > 1) or (task and task not in loaded.tasks):
        raise Error(f"{loaded.name} is for the tasks {', '.join(loaded.tasks)}")
    number = torch.tensor([loaded.tasks.index(task) if task else 0], device=loaded.device)
    bounds = latent_bounds(pixels.shape[1], pixels.shape[0])
    out = np.empty((bounds.height * LATENT, bounds.width * LATENT, *pixels.shape[2:]), np.uint8)
    margin = -(-halo(loaded.net.config) // LATENT)
    pieces = list(bounds.cut(PIECE))
    for done, piece in enumerate(pieces, 1):
        fit_threads()
        seen = piece.grow(margin, bounds)
        result = loaded.net(region(pixels, seen, loaded.device), number, strength)
        rows, columns = piece.times(LATENT).within(seen.times(LATENT))
        out[piece.times(LATENT).within(bounds.times(LATENT))] = _to_pixels(result[..., rows, columns], pixels)
        progress(done, len(pieces))
    return np.ascontiguousarray(out[: pixels.shape[0], : pixels.shape[1]])


def _lptn(loaded: Loaded, pixels: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """As `translate_pixels`, by LPTN."""
    height, width = pixels.shape[:2]
    if min(height, width) < 2**loaded.net.bands:
        raise Error(f"{width} x {height} is too small for {loaded.name}: it needs {2**loaded.net.bands} pixels")
    whole = region(pixels, latent_bounds(width, height), loaded.device)[..., :height, :width]
    return _to_pixels(whole + strength * (loaded.net(whole) - whole), pixels)


def read_factor(model: str) -> float:
    """The factor of a model "grey:FACTOR". Raises ValueError if it is no positive number."""
    try:
        factor = float(model.removeprefix("grey:"))
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise ValueError(f"{model}: the factor is a positive number, as in grey:1.3")
    return factor


def grey_density(pixels: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """The mean of the channels times an intensity factor, clipped: (H, W, 3) or (H, W) -> (H, W), uint8. The cheapest
    translation there is, of colour to infrared."""
    mean = pixels.mean(axis=2) if pixels.ndim == 3 else pixels.astype(np.float64)
    return (mean * factor).round().clip(0, 255).astype(np.uint8)


def through(image: Image.Image, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Image.Image:
    """An image of any mode with its pixels changed by a function of (H, W, 3) or (H, W) uint8, its alpha resized to
    them, its metadata kept; where colour becomes grey, its profile becomes a grey one of the same curve if it can."""
    before, chunks = picture.take_apart(image)
    after = change(before)
    alpha = picture.read_alpha(chunks, before.shape[1::-1])
    if alpha is not None and before.shape[:2] != after.shape[:2]:
        alpha = alpha.resize(after.shape[1::-1], Image.Resampling.BICUBIC)
    if before.ndim > after.ndim and ICC in chunks:
        profile, _ = colour.fit(chunks.pop(ICC), grey=True)
        chunks |= {ICC: profile} if profile else {}
    return picture.put_together(after, alpha, chunks)


def restore_pixels(
    pixels: NDArray[np.uint8],
    task: str,
    device: str,
    strength: float = 1.0,
    scale: int = 2,
    look: str = "faithful",
    progress: Progress = no_progress,
) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) or (H, W), uint8, restored; for the task "upscale" `scale`, 2 or 4, times as large. `look` is
    one of LOOKS."""
    loaded = load(RESTORERS[task] + LOOKS[look], device)
    if task != "upscale":
        return translate_pixels(loaded, pixels, task, strength, progress)
    for _ in range(scale // 2):
        size = (2 * pixels.shape[1], 2 * pixels.shape[0])
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
        pixels = translate_pixels(loaded, pixels, task, strength, progress)
    return pixels
