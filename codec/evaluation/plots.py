"""Rate-distortion plots and cost plots, each as SVG and PNG."""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

from lapic.codec import files
from lapic.codec.evaluation.curves import DRAWN, Curve, bd
from lapic.codec.evaluation.metric import ALL, Metric

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, NullFormatter

STYLE = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "lapic",  # the same plot gives the same file
    "svg.fonttype": "none",
    "text.parse_math": False,  # a "$" in a name begins no formula
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
LINES = ("-", ":", "-.", (0, (8, 2)))  # of the first evaluation, the second and so on; "--" is for published curves
MARKERS = ("o", "s", "D", "v", "X")  # likewise; "^" is for published ones


@dataclass(frozen=True)
class _Drawn:
    """A curve and how it is drawn: its codec has the colour, its evaluation line and marker."""

    curve: Curve
    colour: str
    line: Any
    marker: str


def _styled(evaluations: list[list[Curve]], published: list[Curve]) -> list[_Drawn]:
    """All curves; one codec has the same colour in all evaluations."""
    names = dict.fromkeys(curve.name for curves in [*evaluations, published] for curve in curves)
    spare = [name for name in names if name not in COLOURS]
    colours = COLOURS | {name: OTHERS[number % len(OTHERS)] for number, name in enumerate(spare)}
    drawn = [
        _Drawn(curve, colours[curve.name], LINES[number % len(LINES)], MARKERS[number % len(MARKERS)])
        for number, curves in enumerate(evaluations)
        for curve in curves
    ]
    return drawn + [_Drawn(curve, colours[curve.name], "--", "^") for curve in published]


def _write(figure: "pyplot.Figure", out: Path, name: str) -> list[Path]:
    made = {out / f"{name}.svg": {"metadata": {"Date": None}}, out / f"{name}.png": {"dpi": 130}}
    for path, settings in made.items():
        data = io.BytesIO()
        figure.savefig(data, format=path.suffix[1:], **settings)
        files.write_output(str(path), data.getvalue())
    pyplot.close(figure)
    return list(made)


def draw(evaluations: list[list[Curve]], published: list[Curve], out: Path, title: str) -> dict[str, list[Path]]:
    """All plots that can be drawn of the measured curves of some evaluations and of published ones: one for each metric
    over the rate, and BD-rates over costs.

    Returns:
        plot -> the SVG and the PNG file in `out`, as `_rate_distortion` and `_rate_over_cost` give them.
    """
    drawn = _styled(evaluations, published)
    anchor = _anchor_of([one.curve for one in drawn])
    return _rate_distortion(drawn, out, title) | (_rate_over_cost(drawn, anchor, out, title) if anchor else {})


def _anchor_of(curves: list[Curve]) -> Curve | None:
    """The curve that cost plots measure against: published VTM, else JPEG, else the first one with PSNR."""
    able = [curve for curve in curves if "psnr" in curve.metrics]
    for name in ("vtm", "jpeg"):
        for curve in able:
            if curve.name == name:
                return curve
    return able[0] if able else None


def _rate_distortion(drawn: list[_Drawn], out: Path, title: str) -> dict[str, list[Path]]:
    """One plot for each metric that at least one measured curve has: its mean over mean bpp.

    Measured curves have a marker at each point, published ones (those of `DRAWN`) are dashed.

    Returns:
        metric -> the SVG and the PNG file, written into `out` as rd-METRIC.
    """
    written = {}
    for metric in ALL:
        shown = [
            one for one in drawn if metric.key in one.curve.metrics and (one.curve.measured or one.curve.name in DRAWN)
        ]
        if not any(one.curve.measured for one in shown):
            continue
        with pyplot.rc_context(STYLE):
            figure, axes = pyplot.subplots(figsize=(8.4, 4.8), layout="constrained")
            _draw(axes, shown, metric)
            axes.set_xlabel("bits per pixel")
            axes.set_ylabel(metric.axis + (" (lower is better)" if metric.lower_is_better else ""))
            axes.set_title(title)
            figure.legend(loc="outside right upper", fontsize=8, frameon=False)
            written[metric.key] = _write(figure, out, f"rd-{metric.key.replace('_', '-')}")
    return written


def _draw(axes: Axes, drawn: list[_Drawn], metric: Metric) -> None:
    """Draw the curves; the axes show what the measured ones span, so that a published outlier hides nothing."""
    for one in drawn:
        curve = one.curve
        axes.plot(
            curve.bpp,
            curve.metrics[metric.key],
            color=one.colour,
            label=curve.label if curve.measured else f"{curve.label}, published",
            marker=one.marker if curve.measured else None,
            markersize=4,
            linestyle=one.line,
            linewidth=2.2 if curve.name == "lapic" else 1.3 if curve.measured else 1.0,
            zorder=3 if curve.measured else 2,
        )
    measured = [one.curve for one in drawn if one.curve.measured]
    right = _right_end(measured)
    inside = [
        value
        for curve in measured
        for rate, value in zip(curve.bpp, curve.metrics[metric.key], strict=True)
        if rate <= right
    ]
    room = 0.06 * (max(inside) - min(inside)) or 1.0
    axes.set_xlim(0, right)
    axes.set_ylim(min(inside) - room, max(inside) + room)


def _right_end(curves: list[Curve]) -> float:
    """Where the axis of rates ends: behind lapic's highest rate, and behind two points of every curve."""
    lapic = [curve for curve in curves if curve.name == "lapic"] or curves
    seconds = [sorted(curve.bpp)[:2][-1] for curve in curves]
    return 1.1 * max(*seconds, *(max(curve.bpp) for curve in lapic))


def _rate_over_cost(drawn: list[_Drawn], anchor: Curve, out: Path, title: str) -> dict[str, list[Path]]:
    """BD-rate against `anchor` over the decoder's kMAC/pixel, and over the measured decode time.

    Returns:
        "kmac" and "decode" -> the files, written as bd-over-kmac and bd-over-decode; one is left out when fewer than
        two curves have that figure.
    """
    able = [one for one in drawn if "psnr" in one.curve.metrics]
    costs = {
        "kmac": ("kMAC/pixel to decode", [(one.curve.decoder, one) for one in able]),
        "decode": ("seconds to decode a picture, mean", [(one.curve.seconds.get("decode_s"), one) for one in able]),
    }
    written = {}
    for kind, (axis_label, known) in costs.items():
        places = [(cost, rate, one) for cost, one in known if cost and (rate := bd(anchor, one.curve).rate) is not None]
        if len(places) < 2:
            continue
        with pyplot.rc_context(STYLE):
            figure, axes = pyplot.subplots(figsize=(7.2, 4.8), layout="constrained")
            labels = []
            for cost, rate, one in places:
                axes.scatter(cost, rate, color=one.colour, marker=one.marker, s=45, zorder=3)
                beside = {"xytext": (6, 4), "textcoords": "offset points"}
                labels.append(axes.annotate(one.curve.label, (cost, rate), **beside, fontsize=8))
            axes.axhline(0, color="black", linewidth=0.8)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")  # the scale's own formatters write formulas
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.margins(x=0.2, y=0.1)
            axes.set_xlabel(axis_label)
            axes.set_ylabel(f"BD-rate (PSNR) against {anchor.label}, % (lower is better)")
            axes.set_title(title)
            _move_apart(figure, labels)
            written[kind] = _write(figure, out, f"bd-over-{kind}")
    return written


def _move_apart(figure: "pyplot.Figure", labels: list[Annotation]) -> None:
    """Move labels upwards, from the lowest on, until none covers another."""
    figure.draw_without_rendering()  # places them
    boxes = []
    for label in sorted(labels, key=lambda label: label.get_window_extent().y0):
        box, up = label.get_window_extent(), 0.0
        while covered := [other for other in boxes if box.overlaps(other)]:
            more = max(other.y1 for other in covered) - box.y0 + 1
            box, up = box.translated(0, more), up + more
        boxes.append(box)
        x, y = label.xyann
        label.xyann = (x, y + up * 72 / figure.dpi)


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


def named_apart(sets: list[tuple[str, list[Curve]]]) -> list[list[Curve]]:
    """The curves of several evaluations; labels that occur more than once get their evaluation's name."""
    labels = [curve.label for _, curves in sets for curve in curves]
    return [
        [replace(one, label=f"{one.label}, {name}") if labels.count(one.label) > 1 else one for one in curves]
        for name, curves in sets
    ]
