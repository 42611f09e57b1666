"""The tables of results/RELEASE/kodak.json and realism.json from an evaluation's results.json.

python benchmarks/tables.py RESULTS/results.json

Prints tables as benchmarks/page.py reads them, the command, machine and day of the evaluation included.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from lapic.codec.evaluation.curves import Curve, bd, published
from lapic.codec.evaluation.plane import name_of

METRICS = {
    "psnr": ("PSNR", "dB"),
    "ms_ssim_db": ("MS-SSIM", "dB"),
    "ssimulacra2": ("SSIMULACRA2", ""),
    "lpips": ("LPIPS", ""),
    "butteraugli": ("Butteraugli", ""),
    "flip": ("FLIP", ""),
}
DIGITS = {"psnr": 2, "ms_ssim_db": 2, "ssimulacra2": 1, "lpips": 3, "butteraugli": 2, "flip": 4}
RATES = (0.16, 0.2, 0.25, 0.3, 0.4)
Table = dict[str, Any]


def column(name: str, form: str = "", unit: str = "") -> dict[str, str]:
    """A column; `form` is the format of its numbers, empty for text."""
    return {"name": name} | ({"format": form} if form else {}) | ({"unit": unit} if unit else {})


def rounded(value: float | None, digits: int) -> float | None:
    """A number with so many digits behind the point, for what is stored is what is shown."""
    return None if value is None else round(value, digits)


def rate_distortion(curves: list[Curve]) -> Table:
    """The means of every codec at every quality."""
    names = [name for name in METRICS if all(name in curve.metrics for curve in curves)]
    columns = [column("codec"), column("bpp", ".4f")]
    columns += [column(METRICS[name][0], f".{DIGITS[name]}f", METRICS[name][1]) for name in names]
    rows = [
        [curve.label, round(bpp, 4), *(round(curve.metrics[name][place], DIGITS[name]) for name in names)]
        for curve in curves
        for place, bpp in enumerate(curve.bpp)
    ]
    return {"name": "points", "on_page": False, "columns": columns, "rows": rows}


def differences(curves: list[Curve]) -> Table:
    """BD-rate of the first curve against the others, by each metric."""
    first, *others = curves
    names = [name for name in METRICS if name in first.metrics]
    columns = [column("against"), *(column(METRICS[name][0], "+.1f", "%") for name in names)]
    rows = [[anchor.label, *(rounded(bd(anchor, first, name).rate, 1) for name in names)] for anchor in others]
    return {"name": first.name, "columns": columns, "rows": rows}


def published_differences(curve: Curve) -> Table:
    """BD-rate by PSNR of a curve against published ones, from the weakest to the best."""
    found = [(bd(anchor, curve).rate, anchor) for anchor in published()]
    rows = [[anchor.label, round(rate, 1), anchor.decoder] for rate, anchor in found if rate is not None]
    columns = [column("against"), column("BD-rate", "+.1f", "%"), column("its decoder, kMAC/pixel", "g")]
    return {"name": "published", "columns": columns, "rows": sorted(rows, key=lambda row: row[1])}


def plane(points: list[dict[str, float]]) -> Table:
    """The same files decoded with different realism."""
    columns = [column("quality, bpp"), column("realism", "g"), column("PSNR", ".2f", "dB"), column("LPIPS", ".4f")]
    rows = [
        [
            f"{one['quality']:g}, {one['bpp']:.3f}",
            one["realism"],
            round(one["psnr"], 2),
            rounded(one.get("lpips"), 4),
            rounded(one.get("fd_mobilenetv2"), 1),
        ]
        for one in sorted(points, key=lambda one: (one["quality"], one["realism"]))
    ]
    return {"name": "plane", "columns": [*columns, column("FD", ".1f")], "rows": rows}


def same_rate(curves: list[Curve], points: list[dict[str, float]]) -> Table:
    """LPIPS at the same bits per pixel, interpolated over their logarithm."""
    ways = {curve.label: (curve.bpp, curve.metrics["lpips"]) for curve in curves if "lpips" in curve.metrics}
    for realism in sorted({one["realism"] for one in points} - {0}):
        mine = sorted((one["bpp"], one["lpips"]) for one in points if one["realism"] == realism)
        ways[name_of(realism)] = tuple(zip(*mine, strict=True))
    rows = [
        [
            rate,
            *(
                round(float(np.interp(np.log(rate), np.log(bpp), lpips)), 3) if bpp[0] <= rate <= bpp[-1] else None
                for bpp, lpips in ways.values()
            ),
        ]
        for rate in RATES
    ]
    return {"name": "same-rate", "columns": [column("bpp", "g"), *(column(way, ".3f") for way in ways)], "rows": rows}


def text_of(table: Table) -> str:
    """A table as JSON with one column or row on a line."""
    parts = []
    for key, value in table.items():
        lists = key in ("columns", "rows")
        lines = ",\n".join(f"   {json.dumps(one, ensure_ascii=False)}" for one in value) if lists else ""
        parts.append(f'  "{key}": ' + (f"[\n{lines}\n  ]" if lists else json.dumps(value, ensure_ascii=False)))
    return " {\n" + ",\n".join(parts) + "\n }"


def document(head: dict[str, Any], tables: list[Table]) -> str:
    """A file of results: its title, text and notes, and its tables."""
    lines = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    body = ",\n".join(map(text_of, tables))
    return "{\n" + ",\n".join([*lines, f' "tables": [\n{body}\n ]']) + "\n}\n"


def tables(results: dict[str, Any]) -> list[Table]:
    """All tables of an evaluation's results.json."""
    curves = [Curve(**curve) for curve in results["curves"]]
    found = [rate_distortion(curves), differences(curves), published_differences(curves[0])]
    if results["plane"]:
        found.append(plane(results["plane"]))
        if all("lpips" in one for one in results["plane"]):
            found.append(same_rate(curves, results["plane"]))
    machine = "{cores} cores, {processor}; Python {python}".format(**results["machine"])
    origin = {"command": results["command"], "machine": machine, "date": results["made"][:10]}
    return [table | origin for table in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    found = tables(json.loads(parser.parse_args().results.read_text()))
    print("[\n" + ",\n".join(map(text_of, found)) + "\n]")


if __name__ == "__main__":
    main()
