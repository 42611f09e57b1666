"""Rate-distortion points of a folder of pictures: real files on disk, decoded in another process.

    python benchmarks/rate_distortion.py KODAK/ [--anchors kodak.json] [--qualities 1,10,...] [--out points.json]

Prints bpp and RGB PSNR for each quality, means over the pictures as CompressAI publishes them, and the BD-rate against
each curve of `--anchors`, a file {"curves": {codec: {"bpp": [...], "psnr": [...]}}}.
"""

import argparse
import json
import multiprocessing
import tempfile
from pathlib import Path

import bjontegaard
import numpy as np
from PIL import Image

import codec
from codec.metrics import psnr


def measure(picture: Path, file: Path) -> tuple[float, float]:
    """bpp and PSNR of one encoded file; runs in the decoding process."""
    decoded = np.asarray(codec.decode(file.read_bytes()))
    original = np.asarray(Image.open(picture).convert("RGB"))
    return 8 * file.stat().st_size / (original.shape[0] * original.shape[1]), psnr(original, decoded)


def curve(pictures: list[Path], qualities: list[float], model: str) -> list[dict]:
    """Mean bpp and PSNR at each quality, with the single pictures' values."""
    points = []
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(1) as other_process,
    ):
        for quality in qualities:
            jobs = []
            for picture in pictures:
                file = Path(folder) / f"{picture.stem}-{quality}.lapic"
                file.write_bytes(codec.encode(Image.open(picture).convert("RGB"), quality, model=model))
                jobs.append((picture, file))
            each = other_process.starmap(measure, jobs)
            bpp, decibel = np.mean(each, axis=0)
            points.append({"quality": quality, "bpp": bpp, "psnr": decibel, "each": each})
            print(f"q {quality:5.1f}  {bpp:.4f} bpp  {decibel:.3f} dB", flush=True)
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--anchors", type=Path)
    parser.add_argument("--qualities", default="1,10,20,30,40,50,60,70,80,90,100")
    parser.add_argument("--model", default="photo")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pictures = sorted(arguments.pictures.glob("*.png"))
    points = curve(pictures, [float(q) for q in arguments.qualities.split(",")], arguments.model)
    rate, quality = [point["bpp"] for point in points], [point["psnr"] for point in points]
    results: dict = {"model": arguments.model, "pictures": len(pictures), "points": points, "bd_rate": {}}
    anchors = json.loads(arguments.anchors.read_text())["curves"] if arguments.anchors else {}
    for name, anchor in anchors.items():
        pairs = sorted(zip(anchor["psnr"], anchor["bpp"], strict=True))
        anchor_quality, anchor_rate = [p for p, _ in pairs], [r for _, r in pairs]
        bd = bjontegaard.bd_rate(
            anchor_rate, anchor_quality, rate, quality, method="pchip", require_matching_points=False
        )
        results["bd_rate"][name] = bd
        print(f"BD-rate against {name:28} {bd:+7.1f} %")
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
