"""What regions that matter gain, and what the rest loses: PSNR of photos with `roi` against files as large without.

    python benchmarks/regions.py FOLDER [--quality Q] [--effort E] [--tune TUNE] [--share SHARE] [--weight WEIGHT]
        [--only PICTURE,...]

The region is a rectangle of the photo's shape in its middle, SHARE of its pixels. Prints a line for each photo, bytes
with and without regions included, and the means.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import lapic
from lapic.codec.defaults import DEFAULT_EFFORT, DEFAULT_TUNE, TUNES
from lapic.codec.metrics import psnr_of
from lapic.codec.picture.roi import WEIGHT
from lapic.training.data import list_pictures


def middle(width: int, height: int, share: float) -> tuple[int, int, int, int]:
    """A rectangle x, y, width, height in the middle of a picture, with a share of its pixels."""
    inner = [max(1, round(edge * share**0.5)) for edge in (width, height)]
    return (width - inner[0]) // 2, (height - inner[1]) // 2, inner[0], inner[1]


def psnr_apart(original: NDArray[np.uint8], shown: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """PSNR in dB within the region and outside of it."""
    error = np.square(original.astype(float) - shown)
    return np.array([psnr_of(error[part].mean()) for part in (inside, ~inside)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quality", type=float, default=30)
    parser.add_argument("--effort", type=int, default=DEFAULT_EFFORT)
    parser.add_argument("--tune", choices=TUNES, default=DEFAULT_TUNE)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--weight", type=float, default=WEIGHT)
    parser.add_argument("--only", default="", help="names of photos, without their suffixes")
    arguments = parser.parse_args()
    rows = []
    paths = list_pictures(arguments.folder)
    if arguments.only:
        wanted = arguments.only.split(",")
        if missing := sorted(set(wanted) - {path.stem for path in paths}):
            raise SystemExit(f"there is no picture {', '.join(missing)} in {arguments.folder}")
        paths = [path for path in paths if path.stem in wanted]
    for path in paths:
        with Image.open(path) as image:
            photo = Image.fromarray(np.asarray(image.convert("RGB")))
        x, y, width, height = middle(*photo.size, arguments.share)
        inside = np.zeros(photo.size[::-1], bool)
        inside[y : y + height, x : x + width] = True
        settings = {"effort": arguments.effort, "tune": arguments.tune}
        plain = lapic.encode(photo, arguments.quality, **settings)
        region = (x, y, width, height, arguments.weight)
        emphasised = lapic.encode(photo, arguments.quality, roi=region, **settings)
        before, after = (
            psnr_apart(np.asarray(photo), np.asarray(lapic.decode(data).convert("RGB")), inside)
            for data in (plain, emphasised)
        )
        more = len(emphasised) / len(plain) - 1
        rows.append([more, *(after - before)])
        parts = lapic.info(emphasised)["bytes"]
        print(
            f"{path.stem}: {len(plain)} and {len(emphasised)} bytes ({more:+.2%}, map {parts.get('QMAP', 0)}), "
            f"inside {before[0]:.2f} {after[0] - before[0]:+.2f} dB, "
            f"outside {before[1]:.2f} {after[1] - before[1]:+.2f} dB",
            flush=True,
        )
    more, within, outside = np.mean(rows, axis=0)
    print(f"mean of {len(rows)}: bytes {more:+.2%}, inside {within:+.2f} dB, outside {outside:+.2f} dB")


if __name__ == "__main__":
    main()
