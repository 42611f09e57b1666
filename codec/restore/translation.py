"""Pictures translated into a style."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapic.bitstream import Error
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.host import isolated
from lapic.codec.model.translator_weights import LoadedTranslator
from lapic.codec.nets.lptn import LPTN
from lapic.codec.nets.translator import halo
from lapic.codec.picture.tensors import region, to_pixels
from lapic.codec.picture.tiling import LATENT, PIECE, latent_bounds
from lapic.codec.threads import fit_threads


def _to_pixels(result: Tensor, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(1, 3, h, w) in -1..1 -> (h, w, 3), or (h, w) if `like` is grey."""
    pixels = to_pixels(result[0], 3 if like.ndim == 3 else 1).cpu().numpy()
    return pixels.reshape(*pixels.shape[:2], *like.shape[2:])


def count_pieces(width: int, height: int) -> int:
    """How many pieces a `Translator` computes for a picture of this size in pixels."""
    return len(list(latent_bounds(width, height).cut(PIECE)))


@isolated
@torch.inference_mode()
def translate_pixels(
    translator: LoadedTranslator,
    pixels: NDArray[np.uint8],
    task: str = "",
    strength: float = 1.0,
    progress: Progress = no_progress,
) -> NDArray[np.uint8]:
    """Translate pixels (H, W, 3) or (H, W), uint8; the result has the same shape.

    A `Translator` computes piece by piece with the halo of its receptive field: memory is bounded and there is no seam.
    LPTN normalises over the picture and computes all of it at once.

    Args:
        task: one of the translator's; its only one if empty. strength: 0..1, the part of the change that is made.

    Raises:
        Error: the translator does not know the task, or the picture is too small for it.
    """
    if isinstance(translator.net, LPTN):
        return _lptn(translator, pixels, strength)
    if translator.net.config.beside:
        raise Error(f"{translator.name} is a realistic decoder, which needs a .lapic file: see --realism")
    if (not task and len(translator.tasks) > 1) or (task and task not in translator.tasks):
        raise Error(f"{translator.name} is for the tasks {', '.join(translator.tasks)}")
    task_index = torch.tensor([translator.tasks.index(task) if task else 0], device=translator.device)
    bounds = latent_bounds(pixels.shape[1], pixels.shape[0])
    out = np.empty((bounds.height * LATENT, bounds.width * LATENT, *pixels.shape[2:]), np.uint8)
    margin = -(-halo(translator.net.config) // LATENT)
    pieces = list(bounds.cut(PIECE))
    for done, piece in enumerate(pieces, 1):
        fit_threads()
        with_halo = piece.grow(margin, bounds)
        result = translator.net(region(pixels, with_halo, translator.device), task_index, strength)
        rows, columns = piece.times(LATENT).within(with_halo.times(LATENT))
        out[piece.times(LATENT).within(bounds.times(LATENT))] = _to_pixels(result[..., rows, columns], pixels)
        progress(done, len(pieces))
    return np.ascontiguousarray(out[: pixels.shape[0], : pixels.shape[1]])


def _lptn(translator: LoadedTranslator, pixels: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """Translate pixels by LPTN. Raises `Error` if the picture is too small for it."""
    height, width = pixels.shape[:2]
    if min(height, width) < 2**translator.net.bands:
        raise Error(f"{width} x {height} is too small for {translator.name}: it needs {2**translator.net.bands} pixels")
    picture = region(pixels, latent_bounds(width, height), translator.device)[..., :height, :width]
    return _to_pixels(picture + strength * (translator.net(picture) - picture), pixels)


def read_factor(model: str) -> float:
    """The factor of a model "grey:FACTOR". Raises ValueError if it is no positive number."""
    try:
        factor = float(model.removeprefix("grey:"))
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise ValueError(f"{model}: the factor is a positive number, as in grey:1.3")
    return factor


def grey_density(pixels: NDArray[np.uint8], factor: float, strength: float = 1.0) -> NDArray[np.uint8]:
    """The mean of the channels times an intensity factor, clipped: (H, W, 3) or (H, W) -> (H, W), uint8. A
    baseline for the translation of colour to infrared.

    Args:
        strength: 0..1, the part of the change that is made. Below 1 the result has the shape of `pixels`.
    """
    mean = pixels.mean(axis=2) if pixels.ndim == 3 else pixels.astype(np.float64)
    grey = (mean * factor).round().clip(0, 255)
    if strength < 1:
        grey = grey.reshape(grey.shape + (1,) * (pixels.ndim - 2))
        grey = (pixels + strength * (grey - pixels)).round()
    return grey.astype(np.uint8)
