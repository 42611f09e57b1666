"""Rate-distortion plots and cost plots, each as SVG and PNG."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

from lapic.codec.evaluation.curves import AXES, DRAWN, LOWER_IS_BETTER, Curve, bd

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

STYLE = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "lapic",  # the same plot gives the same file
    "svg.fonttype": "none",
}
COLOURS = {
    "lapic": "#000000",
    "jpeg": "#d62728",
    "jpeg2000": "#8c564b",
    "webp": "#ff7f0e",
    "avif": "#1f77b4",
    "jxl": "#2ca02c",
    "heic": "#9467bd",
    "bpg444": "#7f7f7f",
    "vtm": "#17becf",
}
OTHERS = ("#bcbd22", "#e377c2", "#aec7e8", "#98df8a", "#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5")


def _colours(curves: list[Curve]) -> dict[str, str]:
    spare = iter(OTHERS * (1 + len(curves) // len(OTHERS)))
    return {curve.label: COLOURS.get(curve.name) or next(spare) for curve in curves}


def _write(figure: "pyplot.Figure", out: Path, name: str) -> list[Path]:
    paths = [out / f"{name}.svg", out / f"{name}.png"]
    figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=130)
    pyplot.close(figure)
    return paths


def draw(curves: list[Curve], out: Path, title: str) -> dict[str, list[Path]]:
    """All plots that can be drawn of these curves, as `rate_distortion` and `rate_over_cost` give them."""
    anchor = _anchor_of(curves)
    return rate_distortion(curves, out, title) | (rate_over_cost(curves, anchor, out, title) if anchor else {})


def _anchor_of(curves: list[Curve]) -> Curve | None:
    """The curve that cost plots measure against: published VTM, else JPEG, else the first one with PSNR."""
    able = [curve for curve in curves if "psnr" in curve.metrics]
    for name in ("vtm", "jpeg"):
        for curve in able:
            if curve.name == name:
                return curve
    return able[0] if able else None


def rate_distortion(curves: list[Curve], out: Path, title: str) -> dict[str, list[Path]]:
    """One plot for each metric that at least one measured curve has: its mean over mean bpp.

    Measured curves are solid with a marker at each point, published ones (those of `DRAWN`) dashed.

    Returns:
        metric -> the SVG and the PNG file, written into `out` as rd-METRIC.
    """
    written = {}
    for metric, axis_label in AXES.items():
        shown = [curve for curve in curves if metric in curve.metrics and (curve.measured or curve.name in DRAWN)]
        if not any(curve.measured for curve in shown):
            continue
        with pyplot.rc_context(STYLE):
            figure, axes = pyplot.subplots(figsize=(8.4, 4.8), layout="constrained")
            _draw(axes, shown, metric)
            axes.set_xlabel("bits per pixel")
            axes.set_ylabel(axis_label + (" (lower is better)" if metric in LOWER_IS_BETTER else ""))
            axes.set_title(title)
            figure.legend(loc="outside right upper", fontsize=8, frameon=False)
            written[metric] = _write(figure, out, f"rd-{metric.replace('_', '-')}")
    return written


def _draw(axes: Axes, curves: list[Curve], metric: str) -> None:
    """Draw the curves; the axes show what the measured ones span, so that a published outlier hides nothing."""
    colours = _colours(curves)
    for curve in curves:
        axes.plot(
            curve.bpp,
            curve.metrics[metric],
            color=colours[curve.label],
            label=curve.label if curve.measured else f"{curve.label}, published",
            marker="o" if curve.measured else None,
            markersize=4,
            linestyle="-" if curve.measured else "--",
            linewidth=2.2 if curve.name == "lapic" else 1.3 if curve.measured else 1.0,
            zorder=3 if curve.measured else 2,
        )
    lapic = [curve for curve in curves if curve.measured and curve.name == "lapic"] or curves
    right = max(max(curve.bpp) for curve in lapic) * 1.1
    inside = [
        value
        for curve in curves
        if curve.measured
        for rate, value in zip(curve.bpp, curve.metrics[metric], strict=True)
        if rate <= right
    ]
    room = 0.06 * (max(inside) - min(inside)) or 1.0
    axes.set_xlim(0, right)
    axes.set_ylim(min(inside) - room, max(inside) + room)


def rate_over_cost(curves: list[Curve], anchor: Curve, out: Path, title: str) -> dict[str, list[Path]]:
    """BD-rate against `anchor` over the decoder's kMAC/pixel, and over the measured decode time.

    Returns:
        "kmac" and "decode" -> the files, written as bd-over-kmac and bd-over-decode; one is left out when fewer than
        two curves have that figure.
    """
    costs = {
        "kmac": ("kMAC/pixel to decode", {c.label: c.decoder for c in curves if c.decoder}),
        "decode": ("seconds to decode a picture, mean", {c.label: c.seconds["decode_s"] for c in curves if c.seconds}),
    }
    written = {}
    colours = _colours(curves)
    for kind, (axis_label, by_label) in costs.items():
        places = [
            (by_label[curve.label], rate, curve)
            for curve in curves
            if curve.label in by_label and "psnr" in curve.metrics and (rate := bd(anchor, curve).rate) is not None
        ]
        if len(places) < 2:
            continue
        with pyplot.rc_context(STYLE):
            figure, axes = pyplot.subplots(figsize=(7.2, 4.8), layout="constrained")
            for cost, rate, curve in places:
                mark = "o" if curve.measured else "^"
                axes.scatter(cost, rate, color=colours[curve.label], marker=mark, s=45, zorder=3)
                axes.annotate(curve.label, (cost, rate), xytext=(6, 4), textcoords="offset points", fontsize=8)
            axes.axhline(0, color="black", linewidth=0.8)
            axes.set_xscale("log")
            axes.margins(x=0.2, y=0.1)
            axes.set_xlabel(axis_label)
            axes.set_ylabel(f"BD-rate (PSNR) against {anchor.label}, % (lower is better)")
            axes.set_title(title)
            written[kind] = _write(figure, out, f"bd-over-{kind}")
    return written


def perception(rows: list[dict[str, Any]], out: Path, title: str) -> dict[str, list[Path]]:
    """PSNR against LPIPS and against a distance of distributions: a line for each quality, that is for each set of
    files, from its faithful to its most realistic decode.

    Args:
        rows: of codec.evaluation.plane.

    Returns:
        plot -> the files, written as plane-METRIC; none if there are no rows.
    """
    names = {"lpips": "LPIPS", "fd_mobilenetv2": "Frechet distance of MobileNetV2 features"}
    written = {}
    for metric, label in names.items():
        if not rows or any(metric not in row for row in rows):
            continue
        with pyplot.rc_context(STYLE):
            figure, axes = pyplot.subplots(figsize=(7.2, 4.8), layout="constrained")
            for quality in sorted({row["quality"] for row in rows}):
                line = [row for row in rows if row["quality"] == quality]
                x, y = [row["psnr"] for row in line], [row[metric] for row in line]
                axes.plot(x, y, marker="o", markersize=4, label=f"quality {quality:g}, {line[0]['bpp']:.2f} bpp")
                for row in line:
                    axes.annotate(f"{row['realism']:g}", (row["psnr"], row[metric]), xytext=(4, 4),
                                  textcoords="offset points", fontsize=7)  # fmt: skip
            axes.set_xlabel("PSNR, dB")
            axes.set_ylabel(f"{label} (lower is better)")
            axes.set_title(f"{title}, by realism")
            axes.legend(fontsize=8, frameon=False)
            written[f"plane-{metric}"] = _write(figure, out, f"plane-{metric.replace('_', '-')}")
    return written


def unlike(sets: Iterable[tuple[str, list[Curve]]]) -> list[Curve]:
    """Curves of several evaluations together; labels that occur more than once get their evaluation's name."""
    named = [(name, curve) for name, curves in sets for curve in curves]
    labels = [curve.label for _, curve in named]
    for name, curve in named:
        if labels.count(curve.label) > 1:
            curve.label = f"{curve.label}, {name}"
    return [curve for _, curve in named]
