"""Codecs by all measures, over ranges of rates, as a file of results that benchmarks/page.py reads.

    python benchmarks/measures.py FOLDER... --out WORK --results results/RELEASE/NAME.json --title TITLE
        [--codecs lapic,lapic@e0+model=FILE,avif,avif@s3,jxl,...] [--anchors avif,jxl] [--spans 0.1-1.5,1.5-2.5]
        [--qualities CODEC=Q,Q,...] [--every N] [--limit N] [--jobs N] [--lpips-backbone FILE]

Codecs are named as for `lapic evaluate`. Points stay in WORK, so that a run that was interrupted, or that has more
codecs, goes on from there; plots are written there too. BD-rates are over the qualities that the anchor has between two
rates, and `worst` is the highest of a row: what the codec is behind by at most, by any measure.
"""

import argparse
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from tables import METRICS, Table, column, document, rate_distortion, rounded

from lapic.codec.command.console import print_stderr, stage_progress
from lapic.codec.evaluation.curves import Curve, bd
from lapic.codec.evaluation.evaluate import Options, evaluate
from lapic.codec.evaluation.metrics import METRICS as MEASURED
from lapic.training.data import list_pictures

CODECS = "lapic,avif,avif@s3,jxl,webp,jpegli,jpeg"
LADDERS = {  # from 0.1 bpp, or the least that there is, to 2.5 on Kodak
    "lapic": (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100),
    "avif": (5, 15, 25, 35, 45, 55, 65, 75, 85, 92),
    "jxl": (1, 10, 20, 35, 50, 65, 80, 90, 95),
    "webp": (1, 10, 25, 45, 65, 80, 90, 96),
    "jpeg": (5, 10, 20, 35, 50, 70, 85, 94),
    "jpegli": (5, 10, 20, 35, 50, 70, 85, 94),
}
Span = tuple[float, float]
SHARED = 0.95  # of the anchor's qualities, below which a note says how much is compared


def without_folders(argument: str) -> str:
    """An argument with the names of files and folders alone, for a command that others can repeat."""
    return re.sub(r"(?<![\w.~/-])[\w.~-]*/(?:[\w.~-]+/)*(?=[\w.~-])", "", argument.rstrip("/"))


def against(anchor: Curve, curves: list[Curve], span: Span) -> tuple[Table, list[str]]:
    """BD-rates of all curves against an anchor between two rates, and a note on those that are not compared whole."""
    names = [name for name in METRICS if name in anchor.metrics]
    where = f"{anchor.label}, over its qualities between {span[0]:g} and {span[1]:g} bpp"
    rows, short = [], []
    for curve in curves:
        if curve.name == anchor.name:
            continue
        found = {name: bd(anchor, curve, name, span) for name in names if name in curve.metrics}
        rates = [rounded(found[name].rate, 1) if name in found else None for name in names]
        rows.append([curve.label, *rates, max((rate for rate in rates if rate is not None), default=None)])
        shares = sorted(max(0.0, one.share) for one in found.values())
        if shares[0] < SHARED:
            short.append(f"{curve.label} over {100 * shares[0]:.0f} to {100 * shares[-1]:.0f} % of them")
    columns = [column(METRICS[name][0], "+.1f", "%") for name in names]
    columns = [column("codec"), *columns, column("worst", "+.1f", "%")]
    name = f"{anchor.name}, {span[0]:g} to {span[1]:g}"
    table = {"name": name, "caption": f"BD-rate against {where}.", "columns": columns, "rows": rows}
    return table, [f"Against {where}, some are compared in part: {'; '.join(short)}."] if short else []


def results_of(results: dict[str, Any], title: str, command: str, anchors: list[str], spans: list[Span]) -> str:
    """The file of results as text, from an evaluation's results.json."""
    curves = [Curve(**curve) for curve in results["curves"]]
    by_name = {curve.name: curve for curve in curves}
    tables, notes = [rate_distortion(curves)], []
    for anchor in anchors:
        for span in spans:
            table, remarks = against(by_name[anchor], curves, span)
            tables.append(table)
            notes += remarks
    machine = "{cores} cores, {processor}; Python {python}".format(**results["machine"])
    origin = {"command": command, "machine": machine, "date": results["made"][:10]}
    pictures = len({point["picture"] for point in results["points"]})
    versions = "; ".join(f"{curve.label}: {results['versions'][curve.name]}" for curve in curves)
    text = [
        f"Pictures: {pictures}. Sizes are those of files on disk, everything in them counted; means over the pictures. "
        "RGB PSNR; MS-SSIM in dB of the mean; LPIPS with SqueezeNet; Butteraugli's 3-norm by libjxl; FLIP's mean at 67 "
        "pixels per degree. For the last three less is better; nothing was trained by the last two.",
        versions + ".",
    ]
    head = {"lapic": results["lapic"], "title": title, "text": text, "notes": notes}
    return document(head, [table | origin for table in tables])


def read_span(text: str) -> Span:
    """ "0.1-1.5" as two numbers."""
    low, high = map(float, text.split("-"))
    return low, high


def read_qualities(text: str) -> tuple[str, tuple[float, ...]]:
    """ "CODEC=Q,Q,..." as a name and numbers."""
    name, _, numbers = text.rpartition("=")
    return name, tuple(map(float, numbers.split(",")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--title", required=True)
    parser.add_argument("--codecs", default=CODECS)
    parser.add_argument("--anchors", default="avif,jxl")
    parser.add_argument(
        "--spans", type=lambda text: [read_span(one) for one in text.split(",")], default="0.1-1.5,1.5-2.5"
    )
    parser.add_argument("--qualities", type=read_qualities, action="append", default=[])
    parser.add_argument("--every", type=int, default=1, help="the first picture of each folder and every Nth after it")
    parser.add_argument("--limit", type=int, help="so many of these at most")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--lpips-backbone", type=Path)
    given = parser.parse_args()
    codecs, anchors = tuple(given.codecs.split(",")), given.anchors.split(",")
    if missing := [name for name in anchors if name not in codecs]:
        parser.error(f"--anchors: {', '.join(missing)} is not among --codecs")
    ladders = {
        name: LADDERS[name] for name in dict.fromkeys(one.partition("@")[0] for one in codecs) if name in LADDERS
    }
    path = evaluate(
        Options(
            pictures=tuple(
                path for folder in given.folders for path in list_pictures(folder)[:: given.every][: given.limit]
            ),
            out=given.out,
            codecs=codecs,
            qualities=tuple((ladders | dict(given.qualities)).items()),
            metrics=MEASURED,
            lpips_backbone=given.lpips_backbone,
            jobs=given.jobs,
            report=False,
            memory=False,
            command=shlex.join(["python", "benchmarks/measures.py", *map(without_folders, sys.argv[1:])]),
        ),
        print_stderr,
        stage_progress,
    )
    results = json.loads(path.read_text())
    given.results.write_text(results_of(results, given.title, results["command"], anchors, given.spans))
    print(given.results)


if __name__ == "__main__":
    main()
