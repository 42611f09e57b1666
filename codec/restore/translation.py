"""Pictures translated into a style."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapic.bitstream import Error
from lapic.codec.host import isolated
from lapic.codec.model.translator_weights import LoadedTranslator
from lapic.codec.nets.lptn import LPTN
from lapic.codec.nets.translator import halo
from lapic.codec.picture.tensors import Progress, no_progress, region, to_pixels
from lapic.codec.picture.tiling import LATENT, PIECE, latent_bounds
from lapic.codec.threads import fit_threads


def _to_pixels(result: Tensor, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(1, 3, h, w) in -1..1 -> (h, w, 3), or (h, w) if `like` is grey."""
    shown = to_pixels(result[0], 3 if like.ndim == 3 else 1).cpu().numpy()
    return shown.reshape(*shown.shape[:2], *like.shape[2:])


@isolated
@torch.inference_mode()
def translate_pixels(
    loaded: LoadedTranslator,
    pixels: NDArray[np.uint8],
    task: str = "",
    strength: float = 1.0,
    progress: Progress = no_progress,
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


def _lptn(loaded: LoadedTranslator, pixels: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
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
