"""Original, JPEG and lapic at the same file size, side by side, as one picture to look at.

    python benchmarks/side_by_side.py PICTURE OUT [--quality 30] [--crop X,Y,W,H] [--zoom 2]

JPEG is Pillow's (4:2:0, optimised), at the highest quality whose file is no larger than lapic's, or its lowest.
"""

import argparse
import io
from pathlib import Path

from PIL import Image
from sheet import sheet

import codec
from codec.metrics import psnr


def jpeg(image: Image.Image, limit: int) -> bytes:
    """The best JPEG file of at most `limit` bytes, or the smallest there is."""
    best = b""
    for quality in range(1, 96):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality, optimize=True)
        if best and out.tell() > limit:
            break
        best = out.getvalue()
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quality", type=float, default=30)
    parser.add_argument("--crop", help="part to show")
    parser.add_argument("--zoom", type=int, default=1)
    arguments = parser.parse_args()
    original = Image.open(arguments.picture).convert("RGB")
    original.info.clear()
    lapic = codec.encode(original, arguments.quality)
    peer = jpeg(original, len(lapic))
    shown = [("original", original)]
    for name, image, size in (
        ("JPEG", Image.open(io.BytesIO(peer)).convert("RGB"), len(peer)),
        ("lapic", codec.decode(lapic), len(lapic)),
    ):
        shown.append((f"{name}, {size} bytes, {psnr(original, image):.2f} dB", image))
    x, y, width, height = map(int, arguments.crop.split(",")) if arguments.crop else (0, 0, *original.size)
    row = [(label, image.crop((x, y, x + width, y + height))) for label, image in shown]
    sheet([row], arguments.zoom).save(arguments.out, quality=92)


if __name__ == "__main__":
    main()
