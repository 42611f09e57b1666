"""The report: one HTML page with plots, tables and before/after sliders, which works from disk without a network."""

import base64
import html
import io
import json
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lapic.codec import files
from lapic.codec.command.workers import WorkerPool, run
from lapic.codec.evaluation import codecs
from lapic.codec.evaluation.cache import Point
from lapic.codec.evaluation.curves import AXES, Curve, bd
from lapic.codec.evaluation.measure import load_rgb

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


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def bd_table(curves: list[Curve], metric: str, of_rate: bool = True) -> tuple[list[str], list[list[str]]]:
    """Head and rows of BD-rates in percent (or BD differences of the metric): each row's codec against each column's.

    A star marks curves whose ranges barely overlap.
    """
    able = [curve for curve in curves if metric in curve.metrics]
    rows = []
    for curve in able:
        row = [html.escape(curve.label)]
        for anchor in able:
            difference = bd(anchor, curve, metric)
            value = difference.rate if of_rate else difference.quality
            if anchor is curve:
                row.append("")
            elif value is None:
                row.append(f'<span title="{html.escape(difference.warning or "")}">-</span>')
            else:
                star = f'<span title="{html.escape(difference.warning)}">*</span>' if difference.warning else ""
                row.append((f"{value:+.1f} %" if of_rate else f"{value:+.3g}") + star)
        rows.append(row)
    return ["", *(f"against {curve.label}" for curve in able)], rows


def _cost_table(curves: list[Curve], points: list[Point], memory: dict[str, Point]) -> str:
    rows = []
    for curve in curves:
        if not curve.measured:
            continue
        mine = [point for point in points if point["codec"] == curve.name and "error" not in point]

        def median(key: str, form: str, mine: list[Point] = mine) -> str:
            values = [point[key] for point in mine if point.get(key) is not None]
            return format(float(np.median(values)), form) if values else "-"

        cost = f"{curve.decoder:.1f}" if curve.decoder else "-"
        times = [median("encode_s", ".3f"), median("decode_s", ".3f")]
        used = [memory.get(curve.name, {}).get(key) for key in ("encode_mib", "decode_mib")]
        peaks = ["-" if value is None else f"{value:.0f}" for value in used]
        rows.append([html.escape(curve.label), *times, *peaks, cost])
    head = ["codec", "encode s", "decode s", "encode MiB", "decode MiB", "decoder kMAC/pixel"]
    return _table(head, rows)


def _failures(points: list[Point]) -> str:
    failed = [point for point in points if "error" in point]
    if not failed:
        return ""
    rows = [
        [html.escape(str(point[key])) for key in ("label", "picture", "quality", "error")]
        for point in failed
    ]  # fmt: skip
    return "<h2>What failed</h2>" + _table(["codec", "picture", "quality", "reason"], rows)


def _caption(look: Point) -> str:
    """What stands beside a picture: size and metrics."""
    parts = [f"{look['bytes']:,} bytes", f"{look['bpp']:.3f} bpp"]
    forms = {"psnr": "PSNR {:.2f} dB", "ms_ssim_db": "MS-SSIM {:.2f} dB", "ssimulacra2": "SSIMULACRA2 {:.1f}",
             "lpips": "LPIPS {:.3f}"}  # fmt: skip
    return ", ".join(parts + [form.format(look[key]) for key, form in forms.items() if look.get(key) is not None])


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
    tables = []
    for metric, label in AXES.items():
        head, rows = bd_table(curves if metric == "psnr" else measured, metric)
        if rows:
            tables.append(f"<h3>BD-rate by {html.escape(label.split(',')[0])}</h3>" + _table(head, rows))
    head, rows = bd_table(measured, "psnr", of_rate=False)
    if rows:
        tables.append("<h3>BD-PSNR in dB</h3>" + _table(head, rows))
    machine = results["machine"]
    facts = [
        f"{len({point['picture'] for point in results['points']})} pictures, {len(results['points'])} points",
        f"{machine['processor']}, {machine['cores']} cores; {results['workers']} processes of one thread each",
        f"made {results['made']} by lapic {results['lapic']}",
    ]
    data = resources("lapic.codec.evaluation") / "data"
    page = (data / "report.html").read_text()
    images = [f"<figure>{_inline(paths[0])}</figure>" for paths in drawn.values()]
    slots = {
        "facts": "".join(f"<li>{html.escape(fact)}</li>" for fact in facts),
        "command": html.escape(results["command"]),
        "plots": "\n".join(images),
        "tables": "\n".join(tables),
        "costs": _cost_table(curves, results["points"], results["memory"]),
        "failures": _failures(results["points"]),
        "versions": "".join(
            f"<li>{html.escape(name)}: {html.escape(str(text))}</li>" for name, text in results["versions"].items()
        ),
        "license": html.escape((data / "img-comparison-slider.LICENSE").read_text()),
        "slider": (data / "img-comparison-slider.js").read_text(),
        "pictures": json.dumps(pictures).replace("</", "<\\/"),
    }
    for name, text in slots.items():
        page = page.replace("{{" + name + "}}", text, 1)
    path = out / "report.html"
    files.write_output(str(path), page.encode())
    return path


def _inline(svg: Path) -> str:
    """An SVG file's element, for embedding in HTML; its ids get the file's name, for ids are shared by the page."""
    text = svg.read_text()
    text = text[text.index("<svg") :]
    return (
        text.replace('id="', f'id="{svg.stem}-')
        .replace("url(#", f"url(#{svg.stem}-")
        .replace('href="#', f'href="#{svg.stem}-')
    )
