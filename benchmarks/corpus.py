"""Every file of a folder as input of the encoder: the right picture, or one clear line.

    python benchmarks/corpus.py FOLDER [--jobs 2]

For test corpora of picture formats, such as the Tests/images folder of Pillow's source distribution, which holds files
that are broken on purpose, decompression bombs among them. A file passes if it is encoded at quality 90 and decodes to
the size and, seen at an eighth of the resolution, the colours that Pillow shows, or if it is refused with one line;
anything else is listed.
"""

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

import lapic
from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.command.convert import encode_image
from lapic.codec.command.jobs import EncodeJob
from lapic.codec.command.workers import run
from lapic.codec.metrics import psnr
from lapic.codec.picture import metadata, pillow

LEAST_PSNR, LONGEST = 24.0, 20.0  # dB at an eighth of the resolution, seconds
MAX_PIXELS = 16_000_000


def attempt(path: Path) -> dict[str, Any]:
    """What one file gives: "status" is "encoded", "refused" or "WRONG", with a "reason"."""
    began = time.monotonic()
    try:
        source = files.read_input(str(path))
        image = pillow.open_image(source, MAX_PIXELS)
        image.load()
        data = encode_image(image, EncodeJob(str(path), "-", quality=90))
        decoded = lapic.decode(data)
        shown = pillow.apply_orientation(image, metadata.collect(image).orientation)
        found = {"status": "encoded", "reason": ""}
        if decoded.size != shown.size:
            found = {"status": "WRONG", "reason": f"{decoded.size} instead of {shown.size}"}
        elif image.mode in {"L", "RGB", "RGBA", "P", "LA", "1"}:
            opaque = Image.new("RGB", shown.size, "white")
            mask = shown.convert("RGBA").getchannel("A")
            seen = [Image.composite(x.convert("RGB"), opaque, mask).reduce(8) for x in (shown, decoded)]
            if psnr(*seen) < LEAST_PSNR:
                found = {"status": "WRONG", "reason": f"only {psnr(*seen):.1f} dB"}
    except (Error, ValueError) as error:
        lines = str(error).splitlines()
        found = {"status": "refused" if len(lines) == 1 else "WRONG", "reason": str(error)}
    if time.monotonic() - began > LONGEST:
        found = {"status": "WRONG", "reason": f"took {time.monotonic() - began:.0f} s"}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="list the refused files too")
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
    if not paths:
        raise SystemExit(f"no files in {arguments.folder}")
    counts: Counter[str] = Counter()

    def listen(number: int, found: dict[str, Any]) -> None:
        if "error" in found:
            found = {"status": "WRONG", "reason": found["error"]}
        counts[found["status"]] += 1
        if found["status"] == "WRONG" or (arguments.verbose and found["status"] == "refused"):
            print(f"{found['status']}: {paths[number].relative_to(arguments.folder)}: {found['reason']}", flush=True)

    run([(attempt, path) for path in paths], arguments.jobs, listen)
    print(f"{len(paths)} files: " + ", ".join(f"{count} {status}" for status, count in counts.items()))


if __name__ == "__main__":
    main()
