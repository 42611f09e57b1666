"""Degradations that restorers are trained on, applied on the fly: those of other codecs, cameras and scalers.

Every degradation takes pixels, (H, W, 3) or grey (H, W), uint8, and a NumPy generator that gives all random values,
and returns pixels of the same shape.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from lapic.codec.picture.planes import in_colour

Pixels = NDArray[np.uint8]
Degradation = Callable[[Pixels, np.random.Generator], Pixels]
HALVED_SHARE = 0.5  # of resize blur


def compress(pixels: Pixels, quality: int, subsampling: str = "4:2:0") -> Pixels:
    """To JPEG and back, by Pillow; (H, W) stays grey."""
    out = io.BytesIO()
    options = {} if pixels.ndim == 2 else {"subsampling": subsampling}
    Image.fromarray(pixels).save(out, "JPEG", quality=quality, **options)
    return np.array(Image.open(out))


def jpeg(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """JPEG of quality 5 to 95, 4:2:0 or 4:4:4, once or twice, the second time with the grid shifted by 0 to 7 pixels:
    restorers trained on single compression fail on pictures from the web (Jiang, Zhang, Timofte, FBCNN, ICCV
    2021)."""
    last, first = (int(quality) for quality in rng.integers(5, 96, 2))
    subsampling = "4:4:4" if rng.random() < 0.3 else "4:2:0"
    if rng.random() < 0.4:
        down, right = rng.integers(0, 8, 2)
        edges = [(down, 0), (right, 0)] + [(0, 0)] * (pixels.ndim - 2)
        pixels = compress(np.pad(pixels, edges, mode="symmetric"), first, subsampling)[down:, right:]
    return compress(np.ascontiguousarray(pixels), last, subsampling)


def gaussian_noise(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """White Gaussian noise of standard deviation `sigma` grey levels, rounded and clipped."""
    return (pixels + rng.normal(0, sigma, pixels.shape)).round().clip(0, 255).astype(np.uint8)


def noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of sigma 0 to 50, or Poisson noise of 10 to 1000 photons at full brightness."""
    if rng.random() < 0.75:
        return gaussian_noise(pixels, rng.uniform(0, 50), rng)
    photons = 10 ** rng.uniform(1, 3)
    return (rng.poisson(pixels / 255 * photons) / photons * 255).round().clip(0, 255).astype(np.uint8)


def resize_blur(pixels: Pixels, factor: float, up: Image.Resampling = Image.Resampling.BICUBIC) -> Pixels:
    """Made smaller by `factor` (bicubic, antialiased) and large again."""
    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize(
        (max(1, round(width / factor)), max(1, round(height / factor))), Image.Resampling.BICUBIC
    )
    return np.asarray(small.resize((width, height), up))


def gaussian_blur(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur of standard deviation `sigma` pixels (Pillow's three box filters)."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def blur(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Gaussian blur of sigma 0.3 to 3, or resize blur by 1.2 to 4: a model trained on one of them fails on the other.

    Half of the resizing is by 2, the most common factor in practice. Its pixels have only two interpolation phases,
    which a network rarely trained on that factor does not exploit.
    """
    if rng.random() < 0.5:
        return gaussian_blur(pixels, rng.uniform(0.3, 3))
    kind = Image.Resampling.BICUBIC if rng.random() < 0.7 else Image.Resampling.BILINEAR
    return resize_blur(pixels, 2.0 if rng.random() < HALVED_SHARE else rng.uniform(1.2, 4), kind)


def half_size(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Half the size and back, bicubic: what `upscale` starts from."""
    return resize_blur(pixels, 2.0)


DEGRADATIONS: dict[str, Degradation] = {"jpeg": jpeg, "denoise": noise, "deblur": blur, "upscale": half_size}
GREY_SHARE = 0.2
GRAIN_SHARE = 0.3


def damage(pixels: Pixels, task: str, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """A pair to learn `task` from: the damaged picture and what it was, (H, W, 3) both.

    One picture in five is made grey first, its three channels equal before and after the damage. Three in ten of those
    for "jpeg" get grain of sigma 0 to 8 on both sides: a restorer trained without grain removes that of film
    from pictures of high quality.
    """
    grey = rng.random() < GREY_SHARE
    clean = np.asarray(Image.fromarray(pixels).convert("L")) if grey else pixels
    if task == "jpeg" and rng.random() < GRAIN_SHARE:
        clean = gaussian_noise(clean, rng.uniform(0, 8), rng)
    damaged = DEGRADATIONS[task](clean, rng)
    if grey:
        damaged, clean = (in_colour(side) for side in (damaged, clean))
    return damaged, clean
