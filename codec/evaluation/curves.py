"""From points to curves: means over pictures, BD-rate and BD-PSNR, and the curves that others published."""

import json
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np

from lapic.codec.evaluation.metric import ALL

LOWER_IS_BETTER = {metric.key for metric in ALL if metric.lower_is_better}
DRAWN = {"bpg444", "hm", "vtm", "mbt2018-mean", "elic", "evc-s", "cool-chic-5"}  # all published ones would be a thicket
LEAST_OVERLAP = 0.5  # of the narrower of two ranges of quality, below which a BD figure comes with a warning
SAMPLES = 200  # of a part of a curve


@dataclass
class Curve:
    """A codec's means over a set of pictures: `bpp` rising, and for each metric a list of the same length.

    `decoder` is kMAC/pixel to decode where it is known, `measured` whether the points were measured here.
    """

    name: str
    label: str
    bpp: list[float]
    metrics: dict[str, list[float]]
    measured: bool = True
    decoder: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def mean_curves(points: list[dict[str, Any]]) -> tuple[list[Curve], list[str]]:
    """Curves of means over the pictures, one for each codec, and remarks on what was left out.

    A quality at which a codec failed on some picture is left out of its curve, because a mean over other pictures
    would not compare; so is a metric that has no figure for some picture. MS-SSIM in dB is that of the mean MS-SSIM, as
    CompressAI publishes it.
    """
    from lapic.codec.evaluation.metrics import decibel

    grouped: dict[str, dict[float, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        grouped[point["codec"]][point["quality"]].append(point)
    curves, remarks = [], _without_figures(points)
    for name, by_quality in grouped.items():
        label = next(iter(by_quality.values()))[0]["label"]
        rows, times = [], []
        for quality, group in by_quality.items():
            failed = [point["picture"] for point in group if "error" in point]
            if failed:
                remarks.append(f"{label}: quality {quality:g} is not in the means, it failed on {', '.join(failed)}")
                continue
            keys = [metric.name for metric in ALL if group[0].get(metric.name) is not None]
            row = {key: _mean(group, key) for key in ["bpp", *keys] if all(p.get(key) is not None for p in group)}
            if "ms_ssim" in row:
                row["ms_ssim_db"] = decibel(row["ms_ssim"])
            rows.append(row)
            times += group
        if rows:
            rows.sort(key=lambda row: row["bpp"])
            shared = set.intersection(*(set(row) for row in rows)) - {"bpp"}
            metrics = {key: [row[key] for row in rows] for key in sorted(shared)}
            seconds = {key: _mean(times, key) for key in ("encode_s", "decode_s")}
            curves.append(Curve(name, label, [row["bpp"] for row in rows], metrics, seconds=seconds))
    return curves, remarks


def _without_figures(points: list[dict[str, Any]]) -> list[str]:
    """A remark on each metric that was asked for and has no figure for some picture, such as MS-SSIM of a small one."""
    remarks = []
    for metric in ALL:
        pictures = dict.fromkeys(point["picture"] for point in points if point.get(metric.name, 0.0) is None)
        if pictures:
            names = ", ".join(pictures)
            remarks.append(f"{metric.label} is not in means, plots and tables: it has no figure for {names}")
    return remarks


def _mean(group: list[dict], key: str) -> float:
    return sum(point[key] for point in group) / len(group)


def published() -> list[Curve]:
    """Kodak curves published by others, with sources in data/published.json."""
    stored = json.loads((files("lapic.codec.evaluation") / "data" / "published.json").read_text())
    curves = []
    for entry in stored["curves"]:
        metrics = {key: entry[key] for key in ("psnr", "ms_ssim") if key in entry}
        if "ms_ssim" in entry:
            from lapic.codec.evaluation.metrics import decibel

            metrics["ms_ssim_db"] = [decibel(value) for value in entry["ms_ssim"]]
        curves.append(
            Curve(entry["name"], entry["label"], entry["bpp"], metrics, False, entry.get("decoder_kmac_per_pixel"))
        )
    return curves


@dataclass(frozen=True)
class Difference:
    """Of a curve against an anchor: mean difference of rate in percent at equal quality (negative: fewer bits), mean
    difference of quality at equal rate, and a warning where the two barely overlap.

    `rate` is None where they share no qualities, `quality` where they share no qualities or no rates. `share` is what
    both have of the narrower range of quality, or of the anchor's between two given rates, 0..1.
    """

    rate: float | None
    quality: float | None
    warning: str | None
    share: float = 0.0


def _rising(curve: Curve, metric: str) -> tuple[list[float], list[float]]:
    """Rates and qualities, both strictly rising: points that cost more bits for less quality are left out."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    rates: list[float] = []
    qualities: list[float] = []
    for rate, quality in sorted(zip(curve.bpp, curve.metrics[metric], strict=True)):
        if not rates or (rate > rates[-1] and sign * quality > qualities[-1]):
            rates.append(rate)
            qualities.append(sign * quality)
    return rates, qualities


def _part(rates: list[float], qualities: list[float], span: tuple[float, float]) -> tuple[list[float], list[float]]:
    """The part of a curve between two rates, finely sampled from its pchip interpolation; empty if it has none."""
    from scipy.interpolate import PchipInterpolator

    log_rate = PchipInterpolator(qualities, np.log10(rates))
    fine = np.linspace(qualities[0], qualities[-1], 10 * SAMPLES)
    ends = np.interp(np.log10(np.clip(span, rates[0], rates[-1])), log_rate(fine), fine)
    if ends[1] <= ends[0]:
        return [], []
    sampled = np.linspace(*ends, SAMPLES)
    return (10 ** log_rate(sampled)).tolist(), sampled.tolist()


def bd(anchor: Curve, curve: Curve, metric: str = "psnr", span: tuple[float, float] | None = None) -> Difference:
    """Bjontegaard differences by the package bjontegaard (pchip interpolation) over the shared range.

    Quality is taken as it is plotted; where lower is better (LPIPS, Butteraugli, FLIP) its sign is turned.

    Args:
        span: compare only the qualities that the anchor has between these two rates, in bpp.
    """
    import bjontegaard

    (rate_a, quality_a), (rate_b, quality_b) = _rising(anchor, metric), _rising(curve, metric)
    if min(len(rate_a), len(rate_b)) < 2:
        return Difference(None, None, "fewer than two points")
    if span is not None:
        rate_a, quality_a = _part(rate_a, quality_a, span)
        if not rate_a:
            return Difference(None, None, f"{anchor.label} has no such rates")
    overlap = min(quality_a[-1], quality_b[-1]) - max(quality_a[0], quality_b[0])
    width = quality_a[-1] - quality_a[0]
    share = overlap / (min(width, quality_b[-1] - quality_b[0]) if span is None else width)
    if share <= 0:
        return Difference(None, None, "the ranges of quality do not overlap")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
        rate = bjontegaard.bd_rate(rate_a, quality_a, rate_b, quality_b, **settings)
        quality = None
        if min(rate_a[-1], rate_b[-1]) > max(rate_a[0], rate_b[0]):
            quality = float(bjontegaard.bd_psnr(rate_a, quality_a, rate_b, quality_b, **settings))
    sign = -1 if metric in LOWER_IS_BETTER else 1
    warning = f"only {100 * share:.0f} % of the range is shared" if share < LEAST_OVERLAP else None
    return Difference(float(rate), None if quality is None else sign * quality, warning, share)
