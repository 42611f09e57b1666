"""The report: one HTML page with plots, tables and before/after sliders, which works from disk without a network."""

import base64
import io
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from PIL import Image

from lapic.codec import files
from lapic.codec.command.workers import WorkerPool, run
from lapic.codec.evaluation import codecs
from lapic.codec.evaluation.cache import Point
from lapic.codec.evaluation.curves import Curve, bd
from lapic.codec.evaluation.measure import load_rgb
from lapic.codec.evaluation.metric import ALL

SHOWN_EDGE = 1024  # larger pictures are shown as their middle part of this size


@dataclass(frozen=True)
class ShotJob:
    """A picture to embed: the original if `codec` is None, else a compressed file's decode."""

    file: Path
    codec: str | None


def shot(job: ShotJob) -> dict[str, Any]:
    """The middle of a picture as {"src": data URI of a lossless WebP, "width", "height"}; a run's worker calls this."""
    pixels = codecs.make(job.codec).decode(job.file.read_bytes()) if job.codec else load_rgb(job.file)
    height, width = pixels.shape[:2]
    top, left = max(0, height - SHOWN_EDGE) // 2, max(0, width - SHOWN_EDGE) // 2
    part = np.ascontiguousarray(pixels[top : top + SHOWN_EDGE, left : left + SHOWN_EDGE])
    out = io.BytesIO()
    Image.fromarray(part).save(out, "WEBP", lossless=True, method=1)
    src = "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
    return {"src": src, "width": part.shape[1], "height": part.shape[0]}


class Cell(NamedTuple):
    """A cell of a table: its text, and what is told where the pointer rests on its mark."""

    text: str
    mark: str = ""
    remark: str = ""


class Table(NamedTuple):
    """A table of the report: title, head and rows."""

    title: str
    head: list[str]
    rows: list[list[Cell]]


def bd_table(title: str, curves: list[Curve], metric: str, of_rate: bool = True) -> Table:
    """BD-rates in percent (or BD differences of the metric): each row's codec against each column's.

    A star marks curves whose ranges barely overlap, a dash those whose ranges do not.
    """
    able = [curve for curve in curves if metric in curve.metrics]
    rows = []
    for curve in able:
        row = [Cell(curve.label)]
        for anchor in able:
            difference = bd(anchor, curve, metric)
            value = difference.rate if of_rate else difference.quality
            if anchor is curve:
                row.append(Cell(""))
            elif value is None:
                row.append(Cell("", "-", difference.warning or "the rates do not overlap"))
            else:
                text = f"{value:+.1f} %" if of_rate else f"{value:+.3g}"
                row.append(Cell(text, "*" if difference.warning else "", difference.warning or ""))
        rows.append(row)
    return Table(title, ["", *(f"against {curve.label}" for curve in able)], rows)


def _cost_table(curves: list[Curve], points: list[Point], memory: dict[str, Point]) -> Table:
    """Median times, peak memory and the decoder's cost of each measured codec."""
    rows = []
    for curve in curves:
        if not curve.measured:
            continue
        mine = [point for point in points if point["codec"] == curve.name and "error" not in point]

        def median(key: str, mine: list[Point] = mine) -> str:
            values = [point[key] for point in mine if point.get(key) is not None]
            return significant(float(np.median(values))) if values else "-"

        cost = f"{curve.decoder:.1f}" if curve.decoder else "-"
        times = [median("encode_s"), median("decode_s")]
        used = [memory.get(curve.name, {}).get(key) for key in ("encode_mib", "decode_mib")]
        peaks = ["-" if value is None else f"{value:.0f}" for value in used]
        rows.append([Cell(text) for text in (curve.label, *times, *peaks, cost)])
    head = ["codec", "encode s", "decode s", "encode MiB", "decode MiB", "decoder kMAC/pixel"]
    return Table("", head, rows)


def significant(value: float) -> str:
    """A number with three significant digits."""
    return np.format_float_positional(value, precision=3, unique=False, fractional=False, trim="-")


def counted(number: int, what: str) -> str:
    """A number and what it counts, in the plural unless it is 1: "3 pictures"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _left_out(unreadable: dict[str, str]) -> Table:
    """The pictures that could not be read."""
    return Table("", ["picture", "reason"], [[Cell(path), Cell(reason)] for path, reason in unreadable.items()])


def _failures(points: list[Point]) -> Table:
    """The points that could not be measured."""
    keys = ("label", "picture", "quality", "error")
    rows = [[Cell(str(point[key])) for key in keys] for point in points if "error" in point]
    return Table("", ["codec", "picture", "quality", "reason"], rows)


def _caption(look: Point) -> str:
    """What stands beside a picture: size and metrics."""
    parts = [f"{look['bytes']:,} bytes", f"{look['bpp']:.3f} bpp"]
    return ", ".join(parts + [one.caption(look[one.key]) for one in ALL if look.get(one.key) is not None])


def pictures_of(
    looks: list[Point], out: Path, originals: dict[str, Path], processes: WorkerPool, watch: Any
) -> list[dict[str, Any]]:
    """What the report shows: for each picture its name, size and shots (label, caption, src), the original first, lapic
    second.

    Args:
        looks: the points of `same_size`; their files lie in `out`. originals: picture name -> file.
    """
    entries = []
    for name, path in originals.items():
        mine = [look for look in looks if look["picture"] == name]
        if mine:
            entries.append((name, "original", f"{path.stat().st_size:,} bytes", ShotJob(path, None)))
            entries += [
                (name, look["label"], _caption(look), ShotJob(out / look["file"], look["codec"])) for look in mine
            ]
    found: dict[int, Point] = {}
    step = watch(len(entries), "pictures for the report")

    def listen(number: int, result: Point) -> None:
        found[number] = result
        step()

    run([(shot, job) for *_, job in entries], processes, listen)
    shown: dict[str, dict[str, Any]] = {}
    for number, (name, label, caption, _) in enumerate(entries):
        if "error" not in found[number]:
            size = {key: found[number][key] for key in ("width", "height")}
            entry = shown.setdefault(name, {"name": name, **size, "shots": []})
            entry["shots"].append({"label": label, "caption": caption, "src": found[number]["src"]})
    return list(shown.values())


def write_report(
    out: Path,
    results: dict[str, Any],
    curves: list[Curve],
    drawn: dict[str, list[Path]],
    pictures: list[dict[str, Any]],
) -> Path:
    """Write report.html into `out` and return its path.

    Args:
        results: as written to results.json. curves: measured and published. drawn: plot -> its SVG and PNG files.
        pictures: as `pictures_of` gives them.
    """
    measured = [curve for curve in curves if curve.measured]
    tables = [
        bd_table(f"BD-rate by {metric.label}", curves if metric.key == "psnr" else measured, metric.key)
        for metric in ALL
    ]
    tables.append(bd_table("BD-PSNR in dB", measured, "psnr", of_rate=False))
    machine = results["machine"]
    pictures_measured = len({point["picture"] for point in results["points"]})
    facts = [
        f"{counted(pictures_measured, 'picture')}, {counted(len(results['points']), 'point')}",
        f"{machine['processor']}, {counted(machine['cores'], 'core')}; "
        f"{results['workers']} {'process' if results['workers'] == 1 else 'processes'} of one thread each",
        *([f"LPIPS with the network {results['lpips_net']}"] if results["lpips_net"] else []),
        f"made {results['made']} by lapic {results['lapic']}",
    ]
    data = resources("lapic.codec.evaluation") / "data"
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page = environment.from_string((data / "report.html").read_text()).render(
        facts=facts,
        command=results["command"],
        plots=[_inline(paths[0]) for paths in drawn.values()],
        tables=[table for table in tables if table.rows],
        costs=_cost_table(curves, results["points"], results["memory"]),
        failures=_failures(results["points"]),
        left_out=_left_out(results["unreadable"]),
        remarks=results["remarks"],
        versions=results["versions"],
        slider=(data / "img-comparison-slider.js").read_text(),
        license=(data / "img-comparison-slider.LICENSE").read_text(),
        pictures=pictures,
    )
    path = out / "report.html"
    files.write_output(str(path), page.encode(errors="backslashreplace"))
    return path


def _inline(svg: Path) -> str:
    """An SVG file's element, for embedding in HTML; its ids get the file's name, for ids are shared by the page."""
    text = svg.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    return (
        text.replace('id="', f'id="{svg.stem}-')
        .replace("url(#", f"url(#{svg.stem}-")
        .replace('href="#', f'href="#{svg.stem}-')
    )
