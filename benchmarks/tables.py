"""The tables of docs/BENCHMARKS.md from an evaluation's results.json.

python benchmarks/tables.py RESULTS/results.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from codec.evaluation.curves import Curve, bd, published
from codec.evaluation.plane import name_of

METRICS = {"psnr": "PSNR dB", "ms_ssim_db": "MS-SSIM dB", "ssimulacra2": "SSIMULACRA2", "lpips": "LPIPS"}
DIGITS = {"psnr": 2, "ms_ssim_db": 2, "ssimulacra2": 1, "lpips": 3}
RATES = (0.16, 0.2, 0.25, 0.3, 0.4)


def row(*cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(*names: str) -> str:
    return row(*names) + "\n" + "|---" * len(names) + "|"


def difference(anchor: Curve, curve: Curve, metric: str) -> str:
    rate = bd(anchor, curve, metric).rate
    return "" if rate is None else f"{rate:+.1f} %"


def rate_distortion(curves: list[Curve]) -> None:
    print(head("codec", "bpp", *METRICS.values()))
    for curve in curves:
        for place, bpp in enumerate(curve.bpp):
            cells = (f"{curve.metrics[name][place]:.{DIGITS[name]}f}" for name in METRICS if name in curve.metrics)
            print(row(curve.label, f"{bpp:.4f}", *cells))


def differences(curves: list[Curve]) -> None:
    first, *others = curves
    names = [name for name in METRICS if name in first.metrics]
    print(head("against", *(METRICS[name].split()[0] for name in names)))
    for anchor in others:
        print(row(anchor.label, *(difference(anchor, first, name) for name in names)))


def published_differences(curve: Curve) -> None:
    found = [(bd(anchor, curve).rate, anchor) for anchor in published()]
    print(head("against", "BD-rate", "its decoder, kMAC/pixel"))
    for rate, anchor in sorted(((rate, one) for rate, one in found if rate is not None), key=lambda pair: pair[0]):
        print(row(anchor.label, f"{rate:+.1f} %", "" if anchor.decoder is None else f"{anchor.decoder:g}"))


def plane(rows: list[dict[str, float]]) -> None:
    print(head("quality, bpp", "realism", "PSNR dB", "LPIPS", "FD"))
    for one in sorted(rows, key=lambda one: (one["quality"], one["realism"])):
        distance = f"{one['fd_mobilenetv2']:.1f}" if "fd_mobilenetv2" in one else ""
        where = f"{one['quality']:g}, {one['bpp']:.3f}"
        print(row(where, f"{one['realism']:g}", f"{one['psnr']:.2f}", f"{one['lpips']:.4f}", distance))


def same_rate(curves: list[Curve], rows: list[dict[str, float]]) -> None:
    """LPIPS at the same bits per pixel, interpolated over their logarithm."""
    ways = {curve.label: (curve.bpp, curve.metrics["lpips"]) for curve in curves if "lpips" in curve.metrics}
    for realism in sorted({one["realism"] for one in rows} - {0}):
        mine = sorted((one["bpp"], one["lpips"]) for one in rows if one["realism"] == realism)
        ways[name_of(realism)] = tuple(zip(*mine, strict=True))
    print(head("bpp", *ways))
    for rate in RATES:
        cells = (
            f"{np.interp(np.log(rate), np.log(bpp), lpips):.3f}" if bpp[0] <= rate <= bpp[-1] else ""
            for bpp, lpips in ways.values()
        )
        print(row(f"{rate:g}", *cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    results = json.loads(parser.parse_args().results.read_text())
    curves = [Curve(**curve) for curve in results["curves"]]
    rate_distortion(curves)
    print()
    differences(curves)
    print()
    published_differences(curves[0])
    print()
    if results["plane"]:
        plane(results["plane"])
        print()
        same_rate(curves, results["plane"])


if __name__ == "__main__":
    main()
