"""What the commands that convert pictures share: their options, and the way from many files to a folder."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from lapic.bitstream.error import Error
from lapic.codec import defaults
from lapic.codec.command import interrupts
from lapic.codec.command.console import say, stage_progress, tile_progress
from lapic.codec.command.failures import attempt, named
from lapic.codec.streams import STANDARD_OUTPUT

DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
MAX_PIXELS = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=defaults.MAX_PIXELS,
    show_default=True,
    help="Refuse larger pictures.",
)


def _known_colour(context: Any, parameter: Any, value: str) -> str:
    from PIL import ImageColor

    try:
        ImageColor.getrgb(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a colour such as white, black or #ffeedd") from None
    return value


KEEPING = [
    click.option("--strip", is_flag=True, help="Leave out ICC profile, EXIF and XMP."),
    click.option("--strict", is_flag=True, help="Refuse formats and pictures of which something cannot be kept."),
    click.option(
        "--background", default="white", show_default=True, metavar="COLOUR", callback=_known_colour,
        help="Behind transparent pixels, for formats without alpha: a name, or #rrggbb.",
    ),
]  # fmt: skip
MODEL = click.option(
    "--model", metavar="FILE",
    help="The model that the files need, as a weights file or by name; looked for by its id if not given.",
)  # fmt: skip
QUIET = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
MANY = [
    click.option("--recursive", "-r", is_flag=True, help="Folders: also the folders below them, keeping the tree."),
    click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True, help="Files at a time."),
    click.option("--skip-existing", is_flag=True, help="Leave out files whose output exists: resumes a run."),
    click.option("--force", "-f", is_flag=True, help="Replace existing files."),
    click.option("--force-format", is_flag=True, help="Write to OUTPUT though its name tells of another format."),
    click.option("--json", "manifest", metavar="FILE", help='Write what became of each file as JSON ("-": print it).'),
]


def check_name(output: str, forced: bool, lapic: bool = False) -> None:
    """Raise `Error` if the name of an output file tells of a format that it will not have, unless that is forced.

    Args:
        lapic: whether a .lapic file is written; then names without a suffix, or with one of no picture format, will do.
    """
    from lapic.codec import files

    suffix = Path(output).suffix
    if forced or output == "-" or suffix.lower() not in (files.foreign_suffixes() if lapic else {".lapic"}):
        return
    made = "a lapic file" if lapic else "a picture"
    raise Error(f"{output}: {made} should not be called {suffix} (--force-format writes it all the same)")


def convert_many(
    work: Callable, job_of: Callable, suffixes: set[str], to: str, inputs: tuple[str, ...], output: str, many: dict
) -> None:
    """Convert many files, with progress; failures are reported at the end and make the exit code 1."""
    from lapic.codec import files
    from lapic.codec.command import batch

    if output == "-":
        raise Error("several files cannot go to standard output: name a folder")
    plan = batch.plan(inputs, output, suffixes, to, many["recursive"])
    remark = plan.found.remark()
    if not plan.pairs and not plan.failed:
        raise Error(f"there is nothing to do in {', '.join(inputs)}" + f" ({remark})" * bool(remark))
    manifest = many["manifest"]
    if manifest:
        files.check_absent(manifest, force=True)
    step = stage_progress(len(plan.pairs), "files") if not many["quiet"] else lambda: None
    rows = [{"source": name, "target": None, "status": "failed", "error": why} for name, why in plan.failed.items()]
    report = batch.Report(rows)
    try:
        batch.process(plan.pairs, work, job_of, many["jobs"], many["skip_existing"], lambda row: step(), report)
    except (KeyboardInterrupt, interrupts.Ended) as error:
        end = interrupts.ended_by(error)
        say(f"lapic: {end.reason}; --skip-existing goes on from here")
        if manifest:
            batch.write_manifest(report, manifest)
        sys.exit(end.code)
    for row in report.of("failed"):
        say(f"lapic: {named(row['error'], row['source'], row['target'] or '-')}")
    if not many["quiet"]:
        for row in report.of("done"):
            for note in row["notes"]:
                say(f"{row['source']}: {note}")
        for hint in dict.fromkeys(hint for row in report.of("done") for hint in row.get("hints", [])):
            say(f"lapic: {hint}")
        if remark:
            say(remark)
        say(report.summary())
    if manifest:
        batch.write_manifest(report, manifest)
    if report.of("failed"):
        sys.exit(1)


def convert_one(work: Callable, job: Any, quiet: bool, manifest: str | None) -> dict[str, Any]:
    """Convert one file, say what it could not keep or what of it is missing, and write the manifest if one is asked
    for.

    Returns:
        The facts that `work` found. Raises `Error` if it failed.
    """
    from lapic.codec import files
    from lapic.codec.command import batch

    if manifest:
        files.check_absent(manifest, force=True)
    facts = attempt(partial(work, progress=tile_progress(quiet)), job)
    status = "failed" if "error" in facts else "done"
    if status == "done" and not quiet:
        for note in facts["notes"]:
            say(f"{job.source}: {note}")
        for hint in facts.get("hints", []):
            say(f"lapic: {hint}")
    if manifest:
        row = {"source": job.source, "target": job.target, "status": status, **facts}
        batch.write_manifest(batch.Report([row]), manifest)
    if status == "failed":
        raise Error(named(facts["error"], job.source, job.target))
    return facts


def make_pictures(
    work: Callable, job: Callable, suffixes: set[str], inputs: tuple[str, ...], output: str, suffix: str | None,
    quiet: bool, recursive: bool, jobs: int, skip_existing: bool, manifest: str | None, force_format: bool,
    **settings: Any,
) -> None:  # fmt: skip
    """Make one picture file, or many in a folder.

    Args:
        work: does a job. job: makes one of source, target, suffix and `settings`.
        suffixes: of the files to take from folders.
        suffix: of the pictures without its dot; None goes by the name of `output`, and is PNG for folders and pipes.
    """
    from lapic.codec.command import batch

    output = "-" if output in STANDARD_OUTPUT else output
    if batch.is_batch(inputs, output):
        many = {"recursive": recursive, "jobs": jobs, "skip_existing": skip_existing, "manifest": manifest}
        to = f".{suffix or 'png'}"

        def job_of(pair: batch.Pair) -> Any:
            return job(str(pair.source), str(pair.target), to, keep_times=True, **settings)

        convert_many(work, job_of, suffixes, to, inputs, output, many | {"quiet": quiet})
        return
    check_name(output, force_format)
    if skip_existing and os.path.exists(output):
        return
    suffix = f".{suffix}" if suffix else Path(output).suffix if output != "-" else ".png"
    convert_one(work, job(inputs[0], output, suffix, **settings), quiet, manifest)
