"""Pairs to learn a translation from: photos by day, and the same as a small sensor would see them at dusk.

python examples/dusk_pairs.py PHOTOS/ dusk/ day/ [--edge 768]
lapic-train translator --pairs dusk/ day/ --out run/ --init camera --max-minutes 10 --decay-minutes 5
lapic-train export run/checkpoint.pt dusk-to-day --folder .
lapic translate dark.jpg bright.png --model dusk-to-day.safetensors
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EXPOSURE = 0.12  # of the light
TINT = np.array([0.75, 0.9, 1.25])  # blue hour
GREY = 0.35  # share of the colour that the eye and the sensor lose
PHOTONS = 1500  # at full brightness, so that shadows are noisy


def dusk(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A photo (H, W, 3) by day as one at dusk: in linear light (a gamma of 2.2) darker, bluer, greyer, noisy."""
    light = (pixels / 255.0) ** 2.2 * EXPOSURE * TINT
    light += GREY * (light.mean(axis=2, keepdims=True) - light)
    light = rng.poisson(light * PHOTONS) / PHOTONS
    return (255 * light.clip(0, 1) ** (1 / 2.2)).round().astype(np.uint8)


def main() -> None:
    """Write the pairs as PNG."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("dusk", type=Path)
    parser.add_argument("day", type=Path)
    parser.add_argument("--edge", type=int, default=768, help="Photos are made smaller to this longer edge.")
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN}
    paths = [path for path in sorted(options.photos.rglob("*")) if path.suffix.lower() in suffixes][: options.limit]
    if not paths:
        sys.exit(f"no photos in {options.photos}")
    for folder in (options.dusk, options.day):
        folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number, path in enumerate(paths):
        try:
            image = Image.open(path).convert("RGB")
        except OSError as error:
            sys.exit(f"cannot read {path}: {error}")
        image.thumbnail((options.edge, options.edge), Image.Resampling.LANCZOS)
        image.save(options.day / f"{number:04}.png")
        Image.fromarray(dusk(np.asarray(image), rng)).save(options.dusk / f"{number:04}.png")


if __name__ == "__main__":
    main()
