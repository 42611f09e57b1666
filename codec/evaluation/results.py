"""The record of an evaluation: every raw point, with what it was measured by and on."""

import csv
import io
import json
import math
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lapic import codec
from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.command.workers import cores
from lapic.codec.evaluation import butteraugli
from lapic.codec.evaluation.cache import Point
from lapic.codec.evaluation.codec import Codec
from lapic.codec.evaluation.curves import Curve

METRIC_PACKAGES = {
    "ms_ssim": "pytorch-msssim", "ssimulacra2": "ssimulacra2", "lpips": "lpips", "flip": "flip-evaluator",
}  # fmt: skip
PACKAGES = ("bjontegaard", "torch", "pillow", "numpy")


def package_version(package: str) -> str | None:
    """Version of an installed package, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def metric_versions() -> dict[str, str | None]:
    """What measures: packages with their versions, and Butteraugli's program; None for what is not there."""
    packages = {name: package_version(name) for name in METRIC_PACKAGES.values()}
    return packages | {butteraugli.PROGRAM: butteraugli.version()}


def versions_of(metrics: tuple[str, ...], net: str, backbone: Path | None) -> dict[str, str]:
    """By name all that a metric's figures depend on beside the pictures; net and backbone are LPIPS'."""
    versions = {name: str(package_version(package)) for name, package in METRIC_PACKAGES.items()}
    versions |= {"psnr": "", "butteraugli": str(butteraugli.version())}
    versions["lpips"] += f" {net} {files.digest_of(backbone) if backbone else ''}"
    return {name: versions[name] for name in metrics}


def _machine() -> dict[str, Any]:
    """What the times were measured on."""
    name = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"processor": name, "cores": cores(), "system": f"{platform.system()} {platform.machine()}"}


def write_results(
    out: Path,
    command: str,
    workers: int,
    lpips_net: str | None,
    published: bool,
    measured: list[Codec],
    points: list[Point],
    looks: list[Point],
    curves: list[Curve],
    memory: dict[str, Point],
    plane: list[dict[str, Any]],
    unreadable: dict[str, str],
    remarks: list[str],
) -> dict[str, Any]:
    """Write results.json and results.csv into `out` and return what the former holds.

    Args:
        lpips_net: None if LPIPS was not measured. looks: the points at the same file size. memory: of each codec.
        plane: rows of codec.evaluation.plane. unreadable: why a picture could not be measured, by its file.
        remarks: on what is not in the means.
    """
    results = {
        "lapic": codec.__version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": _machine() | {"python": platform.python_version()},
        "workers": workers,
        "threads": 1,
        "versions": metric_versions()
        | {name: package_version(name) for name in PACKAGES}
        | {codec_.name: codec_.version for codec_ in measured},
        "lpips_net": lpips_net,
        "published": published,
        "points": points,
        "same_size": looks,
        "memory": memory,
        "plane": plane,
        "unreadable": unreadable,
        "remarks": remarks,
        "curves": [asdict(curve) for curve in curves],
    }
    files.write_output(str(out / "results.json"), json.dumps(results, indent=1).encode())
    _write_csv(out / "results.csv", points)
    return results


def _write_csv(path: Path, points: list[Point]) -> None:
    """All points as a table; of names that are no Unicode the odd bytes are escaped."""
    columns: dict[str, None] = {}
    for point in points:
        columns |= dict.fromkeys(point)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns))
    writer.writeheader()
    writer.writerows(points)
    files.write_output(str(path), text.getvalue().encode(errors="backslashreplace"))


def read_curves(path: Path) -> list[Curve]:
    """The curves in a results.json. Raises `Error` if the file is none, or holds no curves."""
    try:
        curves = [Curve(**stored) for stored in json.loads(path.read_text())["curves"]]
        valid = all(map(_is_whole, curves))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        valid = False
    if not valid:
        raise Error(f"{path} is not a results.json of lapic evaluate")
    if not curves:
        raise Error(f"{path} holds no curves")
    return curves


def read_lpips_net(path: Path) -> str | None:
    """The network of LPIPS in a results.json that `read_curves` reads; None if it is not said."""
    net = json.loads(path.read_text()).get("lpips_net")
    return None if net is None else str(net)


def _is_whole(curve: Curve) -> bool:
    """Whether a curve's fields have the right types, and all its lists one length above 0."""
    lists = [curve.bpp, *curve.metrics.values()]
    numbers = [number for values in lists for number in values]
    numbers += [*curve.seconds.values(), *([] if curve.decoder is None else [curve.decoder])]
    return (
        isinstance(curve.name, str)
        and isinstance(curve.label, str)
        and all(isinstance(values, list) and len(values) == len(curve.bpp) > 0 for values in lists)
        and all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
        and min(curve.bpp) > 0
    )
