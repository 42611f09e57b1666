"""Original, other codecs and lapic at the same file size, side by side, a row for each picture, as one to look at.

    python benchmarks/side_by_side.py PICTURE[@X,Y,W,H]... OUT [--quality 30] [--peers jpeg,avif] [--realism 0,1]

With @X,Y,W,H that part is shown. The peers are Pillow's encoders, at the highest quality whose file is no larger than
lapic's, or their lowest.
"""

import argparse
import io
from pathlib import Path

from PIL import Image
from sheet import Row, sheet

import lapic
from lapic.codec.metrics import psnr


def fitting(image: Image.Image, peer: str, limit: int) -> bytes:
    """The best file of at most `limit` bytes that a peer can make, or the smallest."""
    best = b""
    for quality in range(1, 96):
        out = io.BytesIO()
        image.save(out, peer, quality=quality, **({"optimize": True} if peer == "jpeg" else {}))
        if best and out.tell() > limit:
            break
        best = out.getvalue()
    return best


def row(spec: str, quality: float, peers: list[str], realisms: list[float]) -> Row:
    """The columns for a PICTURE@X,Y,W,H: the original, the peers, lapic decoded with each realism."""
    path, _, crop = spec.partition("@")
    original = Image.open(path).convert("RGB")
    original.info.clear()
    x, y, width, height = map(int, crop.split(",")) if crop else (0, 0, *original.size)
    data = lapic.encode(original, quality)
    files = [(peer.upper(), fitting(original, peer, len(data))) for peer in peers]
    shown = [(name, Image.open(io.BytesIO(file)).convert("RGB"), len(file)) for name, file in files]
    for realism in realisms:
        name = f"realism {realism:g}" if realism else "lapic"
        shown.append((name, lapic.decode(data, realism=realism), len(data)))
    labelled = [("original", original)]
    labelled += [(f"{name}, {size} bytes, {psnr(original, image):.1f} dB", image) for name, image, size in shown]
    return [(label, image.crop((x, y, x + width, y + height))) for label, image in labelled]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument("--quality", type=float, default=30)
    parser.add_argument("--peers", default="jpeg")
    parser.add_argument("--realism", default="0")
    parser.add_argument("--zoom", type=int, default=1)
    arguments = parser.parse_args()
    realisms = [float(number) for number in arguments.realism.split(",")]
    rows = [row(spec, arguments.quality, arguments.peers.split(","), realisms) for spec in arguments.pictures]
    sheet(rows, arguments.zoom).save(arguments.out, quality=92)


if __name__ == "__main__":
    main()
