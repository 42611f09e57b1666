"""The plane of distortion and perception at equal rate (Blau and Michaeli, "The Perception-Distortion Tradeoff", CVPR
2018): what the realism of a decode costs in PSNR, and what it buys in LPIPS and as a distribution."""

from pathlib import Path
from typing import Any

import numpy as np

from lapic.bitstream import Error
from lapic.codec.evaluation import codecs
from lapic.codec.evaluation.cache import Point
from lapic.codec.evaluation.distance import distances, mobilenet_features
from lapic.codec.evaluation.measure import load_rgb


def name_of(realism: float) -> str:
    """The codec that decodes with this realism."""
    return f"lapic@r{realism:g}" if realism else "lapic"


def rows_of(
    points: list[Point], realisms: tuple[float, ...], out: Path, originals: dict[str, Path], say: Any, watch: Any
) -> list[dict[str, Any]]:
    """Means over the pictures at every quality and realism: quality, realism, bpp, psnr, lpips if it was measured, and
    the distances between MobileNetV2 features of all decoded and all original pictures' patches, if they can be had.
    Where a picture failed there is no row.

    Args:
        points: measured ones; their files are decoded again. say, watch: as for `codec.evaluation.evaluate.evaluate`.
    """
    groups = []
    for realism in realisms:
        mine = [point for point in points if point["codec"] == name_of(realism)]
        failed = {point["quality"] for point in mine if "error" in point}
        groups += [
            (realism, quality, [point for point in mine if point["quality"] == quality])
            for quality in sorted({point["quality"] for point in mine} - failed)
        ]
    try:
        wanted = mobilenet_features(load_rgb(path) for path in originals.values())
    except Error as reason:
        say(f"distances as distributions are skipped: {reason}")
        wanted = None
    step = watch(len(groups), "distributions")
    rows = []
    for realism, quality, group in groups:
        keys = [key for key in ("bpp", "psnr", "lpips") if all(point.get(key) is not None for point in group)]
        row = {"quality": quality, "realism": realism} | {key: float(np.mean([p[key] for p in group])) for key in keys}
        if wanted is not None:
            codec = codecs.make(name_of(realism))
            made = mobilenet_features(codec.decode((out / p["file"]).read_bytes()) for p in group)
            try:
                row |= distances(made, wanted)
            except Error as reason:
                say(f"distances as distributions are skipped: {reason}")
                wanted = None
        rows.append(row)
        step()
    return rows
