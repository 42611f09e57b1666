"""What `lapic.restore` gains on standard test pictures, beside the damaged pictures themselves.

    python benchmarks/restoration.py FOLDER [--sets live1,classic5,kodak,set5,set14] [--limit N]

FOLDER holds the sets as folders of PNG. JPEG by Pillow. Grey JPEG: PSNR, SSIM and PSNR-B of the picture's luma (BT.601,
16..235), compressed as a grey picture, as in FBCNN's protocol (Jiang, Zhang, Timofte, ICCV 2021). Colour JPEG (4:2:0),
noise and blur: PSNR over RGB. Doubling: PSNR of luma without a border of two pixels, as is usual in super-resolution.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import lapic
from lapic.codec.metrics import psnr
from lapic.training.data import list_pictures
from lapic.training.degradations import compress, gaussian_noise, resize_blur

Pixels = NDArray[np.uint8]


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity, 11 x 11 Gaussian window of sigma 1.5 (Wang et al., 2004), by pytorch-msssim."""
    from pytorch_msssim import ssim as measure

    first, second = (torch.from_numpy(np.array(x, dtype=np.float32))[None, None] for x in (a, b))
    return float(measure(first, second, data_range=255))


def psnr_b(clean: Pixels, shown: Pixels) -> float:
    """PSNR with the blocking effect factor of `shown` in the error (Yim and Bovik, "Quality assessment of deblocked
    images", IEEE Trans. Image Processing 2011), for blocks of 8 and pixels (H, W)."""
    values = shown.astype(np.float64)
    border, inner = [], []
    for steps in (np.diff(values, axis=0) ** 2, np.diff(values, axis=1).T ** 2):  # rows of steps over one pixel
        on_border = np.arange(1, len(steps) + 1) % 8 == 0
        border.append(steps[on_border])
        inner.append(steps[~on_border])
    at_border, elsewhere = (
        sum(part.sum() for part in parts) / sum(part.size for part in parts) for parts in (border, inner)
    )
    share = np.log2(8) / np.log2(min(shown.shape))
    error = ((clean - values) ** 2).mean() + share * max(0.0, at_border - elsewhere)
    return float(10 * np.log10(255**2 / error))


def noisy(sigma: float, pixels: Pixels) -> Pixels:
    """White Gaussian noise, the same for every picture."""
    return gaussian_noise(pixels, sigma, np.random.default_rng(0))


def blurred(sigma: float, pixels: Pixels) -> Pixels:
    """Gaussian blur by its own kernel, cut at four sigma, borders mirrored."""
    reach = int(np.ceil(4 * sigma))
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    values = pixels.astype(np.float64)
    for axis in (0, 1):
        edges = [(reach, reach) if number == axis else (0, 0) for number in range(values.ndim)]
        padded = np.pad(values, edges, mode="symmetric")
        size = values.shape[axis]
        values = sum(w * padded.take(range(n, n + size), axis) for n, w in enumerate(kernel))
    return values.round().clip(0, 255).astype(np.uint8)


def luma(pixels: Pixels) -> Pixels:
    """BT.601 luma in 16..235, as MATLAB's rgb2ycbcr gives it: (H, W, 3) -> (H, W); grey pictures become so too."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    values = pixels @ weights if pixels.ndim == 3 else pixels * (219 / 255)
    return (16 + values).round().astype(np.uint8)


def luma_psnr(a: Pixels, b: Pixels) -> float:
    """PSNR of luma without two pixels at each border."""
    return psnr(luma(a)[2:-2, 2:-2], luma(b)[2:-2, 2:-2])


def halved(pixels: Pixels) -> Pixels:
    """Half the size, bicubic."""
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((width // 2, height // 2), Image.Resampling.BICUBIC))


def full_size(pixels: Pixels, like: Pixels) -> Pixels:
    """Pixels at the size of others, bicubic if they are smaller."""
    return np.asarray(Image.fromarray(pixels).resize(like.shape[1::-1], Image.Resampling.BICUBIC))


SETS = ("live1", "classic5", "kodak", "set5", "set14")
Triple = tuple[Pixels, Pixels, Pixels]  # clean, damaged, restored
Triples = Callable[[Iterable[Pixels]], Iterator[Triple]]
Measure = Callable[[Pixels, Pixels], float]


def restored(clean: Iterable[Pixels], harm: Callable[[Pixels], Pixels], task: str) -> Iterator[Triple]:
    """Damage pictures, and restore them by the public function, as a user's program would."""
    for pixels in clean:
        damaged = harm(pixels)
        yield pixels, damaged, np.asarray(lapic.restore(Image.fromarray(damaged), task))


def shifted(clean: Iterable[Pixels]) -> Iterator[Triple]:
    """Pictures compressed at quality 30, cut so that the blocks shift by 4 pixels, compressed at 10, and restored."""
    for pixels in clean:
        damaged = compress(np.ascontiguousarray(compress(pixels, 30)[4:, 4:]), 10)
        yield pixels[4:, 4:], damaged, np.asarray(lapic.restore(Image.fromarray(damaged), "jpeg"))


def doubled(originals: Iterable[Pixels]) -> Iterator[Triple]:
    """Pictures halved (bicubic) and doubled: by bicubic interpolation and by restoration."""
    for pixels in originals:
        height, width = (edge // 2 * 2 for edge in pixels.shape[:2])
        clean = pixels[:height, :width]
        small = halved(clean)
        yield clean, full_size(small, clean), np.asarray(lapic.restore(Image.fromarray(small), "upscale"))


def row(name: str, triples: Iterable[Triple], measures: Sequence[Measure] = (psnr,)) -> None:
    """Print the means of the damaged and the restored pictures, and the gain by the first measure."""
    found = [
        [[measure(clean, shown) for measure in measures] for shown in (damaged, fixed)]
        for clean, damaged, fixed in triples
    ]
    before, after = np.mean(found, axis=0)
    worst = min(second[0] - first[0] for first, second in found)
    texts = [" / ".join(f"{v:.2f}" if v > 2 else f"{v:.3f}" for v in values) for values in (before, after)]
    print(f"| {name} | {texts[0]} | {texts[1]} | {after[0] - before[0]:+.2f} | {worst:+.2f} |", flush=True)


def main() -> None:
    """Measure and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    if unknown := [name for name in options.sets.split(",") if name not in SETS]:
        parser.error(f"--sets: {', '.join(unknown)} is none of {', '.join(SETS)}")

    def read(name: str) -> list[Pixels]:
        paths = list_pictures(options.folder / name)[: options.limit] if name in options.sets.split(",") else []
        images = [Image.open(path) for path in paths]
        return [np.asarray(image if image.mode == "L" else image.convert("RGB")) for image in images]

    def grey(name: str) -> list[Pixels]:
        return [luma(pixels) if pixels.ndim == 3 else pixels for pixels in read(name)]

    def rows(pictures: list[Pixels], cases: dict[str, Triples], measures: Sequence[Measure] = (psnr,)) -> None:
        for name, made in cases.items() if pictures else ():
            row(name, made(pictures), measures)

    qualities, sigmas = (10, 20, 30, 40, 90), (15, 25, 50)
    print("| damage | damaged | restored | gain, dB | worst picture |\n|---|---|---|---|---|")
    for name in ("live1", "classic5"):
        cases = {
            f"{name} grey, JPEG {q}": partial(restored, harm=partial(compress, quality=q), task="jpeg")
            for q in qualities
        }
        rows(grey(name), cases, (psnr, ssim, psnr_b))
    rows(grey("live1"), {"live1 grey, JPEG 30, then 10 shifted": shifted})
    cases = {
        f"live1 colour, JPEG {q}": partial(restored, harm=partial(compress, quality=q), task="jpeg") for q in qualities
    }
    rows(read("live1"), cases)
    cases = {f"kodak, noise of sigma {s}": partial(restored, harm=partial(noisy, s), task="denoise") for s in sigmas}
    cases["kodak, Gaussian blur of sigma 1.6"] = partial(restored, harm=partial(blurred, 1.6), task="deblur")
    for factor in (2, 2.5):
        harm = partial(resize_blur, factor=factor)
        cases[f"kodak, resize blur by {factor}"] = partial(restored, harm=harm, task="deblur")
    rows(read("kodak"), cases)
    for name in ("set5", "set14"):
        rows(read(name), {f"{name}, doubled": doubled}, (luma_psnr,))


if __name__ == "__main__":
    main()
