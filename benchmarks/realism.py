"""Two ways from faithful to realistic: by what the network is told, and by a share of what it adds.

    python benchmarks/realism.py FOLDER [--quality 30] [--steps 5] [--lpips-backbone FILE] [--limit N]

"conditioned" is `lapic.decode(data, realism=r)`: the network knows r, and r scales what it adds. "blended" tells it 1
always, so that r is the weight of its last layer alone (network interpolation, as in ESRGAN, between it and nothing).
"""

import argparse
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

import lapic
from lapic.codec.decode import realism
from lapic.codec.evaluation.metrics import lpips
from lapic.codec.metrics import psnr
from lapic.training.data import list_pictures, read_rgb

conditioned = realism.modulation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quality", type=float, default=30)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--lpips-backbone", type=Path)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    pictures = [read_rgb(path) for path in list_pictures(options.folder)[: options.limit]]
    files = [lapic.encode(Image.fromarray(pixels), options.quality) for pixels in pictures]
    ways = {"conditioned": conditioned, "blended": lambda quality, _, levels: conditioned(quality, 1.0, levels)}
    print("| realism | | PSNR, dB | LPIPS |\n|---|---|---|---|")
    for how_real in np.linspace(0, 1, options.steps):
        for name, way in ways.items():
            with mock.patch.object(realism, "modulation", way):
                made = [np.asarray(lapic.decode(data, realism=how_real)) for data in files]
            error = np.mean([psnr(a, b) for a, b in zip(pictures, made, strict=True)])
            distances = [lpips(a, b, backbone=options.lpips_backbone) for a, b in zip(pictures, made, strict=True)]
            print(f"| {how_real:.2f} | {name} | {error:.2f} | {np.mean(distances):.4f} |", flush=True)


if __name__ == "__main__":
    main()
