"""Encode and decode the sample photos, print a table, and write original and decoded pictures side by side.

python examples/demo.py [--quality 50] [--out out/demo.png]
"""

import argparse
import sys
import time
from pathlib import Path

from PIL import Image

import lapic
from lapic.codec import defaults
from lapic.codec.metrics import psnr

SAMPLES = ["astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg"]


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", type=float, default=defaults.DEFAULT_QUALITY)
    parser.add_argument("--out", type=Path, default=Path("out/demo.png"))
    arguments = parser.parse_args()
    if not 1 <= arguments.quality <= 100:
        parser.error(f"--quality {arguments.quality:g} is outside 1 to 100")
    pairs = []
    noise = Image.effect_noise((64, 64), 64).convert("RGB")  # has the model of photos, a flat picture that of drawings
    lapic.decode(lapic.encode(noise, arguments.quality))  # load it before the clock runs
    print(f"quality {arguments.quality:g}")
    print(f"{'photo':16}{'pixels':>12}{'bytes':>9}{'bpp':>8}{'PSNR dB':>9}{'encode s':>10}{'decode s':>10}")
    for name in SAMPLES:
        image = Image.open(Path(__file__).parent / name)
        image.info.clear()  # only the picture counts here, not its metadata
        began = time.perf_counter()
        data = lapic.encode(image, arguments.quality)
        encoded = time.perf_counter()
        decoded = lapic.decode(data)
        done = time.perf_counter()
        bpp = 8 * len(data) / (image.width * image.height)
        print(
            f"{name:16}{f'{image.width} x {image.height}':>12}{len(data):>9}{bpp:>8.3f}{psnr(image, decoded):>9.2f}"
            f"{encoded - began:>10.3f}{done - encoded:>10.3f}"
        )
        pairs.append((image.convert("RGB"), decoded.convert("RGB")))
    sheet = Image.new("RGB", (2 * max(a.width for a, _ in pairs), sum(a.height for a, _ in pairs)), "white")
    top = 0
    for original, decoded in pairs:
        sheet.paste(original, (0, top))
        sheet.paste(decoded, (original.width, top))
        top += original.height
    try:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(arguments.out)
    except (OSError, ValueError) as error:  # ValueError: no picture format has this suffix
        sys.exit(f"cannot write {arguments.out}: {error}")
    print(f"originals (left) and decoded pictures (right): {arguments.out}")


if __name__ == "__main__":
    main()
