"""BD-rates of a codec's points in one file of results against the points of another file, on the same pictures.

    python benchmarks/against.py RESULTS.json PEERS.json [--codec lapic] [--peers "JPEG XL,WebP (4:2:0)"]

Both files have a table `points` of means over the pictures. Prints a table as benchmarks/page.py reads it.
"""

import argparse
import json
import shlex
import sys
from itertools import groupby
from pathlib import Path

from measures import without_folders
from tables import METRICS, Table, column, rounded, text_of

from lapic.codec.evaluation.curves import Curve, bd

NAMES = {shown: name for name, (shown, _) in METRICS.items()}


def curves_of(path: Path) -> dict[str, Curve]:
    """The curves of a file's table `points`, by codec. Raises SystemExit if the file has no such table."""
    tables = json.loads(path.read_text())["tables"]
    points = next((table for table in tables if table["name"] == "points"), None)
    if points is None:
        raise SystemExit(f"{path} has no table of points")
    heads = [one["name"] for one in points["columns"]]
    found = {}
    for codec, rows in groupby(points["rows"], key=lambda row: str(row[0])):
        values = {head: list(column) for head, column in zip(heads, zip(*rows, strict=True), strict=True)}
        metrics = {NAMES[head]: column for head, column in values.items() if head in NAMES}
        found[codec] = Curve(codec, codec, values["bpp"], metrics)
    return found


def against(curve: Curve, anchors: list[Curve]) -> Table:
    """BD-rates of a curve against others, by all measures that any of them shares with it."""
    names = [name for name in METRICS if any(name in one.metrics for one in anchors) and name in curve.metrics]
    rows = [
        [one.label, *(rounded(bd(one, curve, name).rate, 1) if name in one.metrics else None for name in names)]
        for one in anchors
    ]
    columns = [column("against"), *(column(METRICS[name][0], "+.1f", "%") for name in names)]
    return {"name": "peers", "columns": columns, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("peers_results", metavar="PEERS.json", type=Path)
    parser.add_argument("--codec", default="lapic")
    parser.add_argument("--peers", help="names of the other file's codecs, joined by commas; all by default")
    given = parser.parse_args()
    ours, peers = curves_of(given.results), curves_of(given.peers_results)
    if given.codec not in ours:
        raise SystemExit(f"{given.results} has no points of {given.codec}")
    wanted = given.peers.split(",") if given.peers else list(peers)
    if missing := [name for name in wanted if name not in peers]:
        raise SystemExit(f"{given.peers_results} has no points of {', '.join(missing)}")
    found = against(ours[given.codec], [peers[name] for name in wanted])
    command = shlex.join(["python", "benchmarks/against.py", *map(without_folders, sys.argv[1:])])
    print(text_of({"name": found.pop("name"), "command": command, **found}))


if __name__ == "__main__":
    main()
