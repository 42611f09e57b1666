"""What the commands that convert pictures share: their options, and the way from many files to a folder."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import codec
from bitstream.error import Error
from codec.console import stage_progress, tile_progress

DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
MAX_PIXELS = click.option(
    "--max-pixels", type=click.IntRange(1), default=codec.MAX_PIXELS, show_default=True, help="Refuse larger pictures."
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
    click.option("--json", "manifest", metavar="FILE", help='Write what became of each file as JSON ("-": print it).'),
]


def convert_many(
    work: Callable, job_of: Callable, suffixes: set[str], to: str, inputs: tuple[str, ...], output: str, many: dict
) -> None:
    """Convert many files, with progress; failures are reported at the end and make the exit code 1."""
    from codec import batch

    pairs = batch.plan(inputs, output, suffixes, to, many["recursive"])
    if not pairs:
        raise Error(f"there is nothing to do in {', '.join(inputs)}")
    step = stage_progress(len(pairs), "files") if not many["quiet"] else lambda: None
    try:
        report = batch.process(
            pairs, work, job_of, min(many["jobs"], len(pairs)), many["skip_existing"], lambda row: step()
        )
    except KeyboardInterrupt:
        click.echo("\nlapic: interrupted; --skip-existing goes on from here", err=True)
        sys.exit(130)
    if many["manifest"]:
        batch.write_manifest(report, many["manifest"])
    for row in report.of("failed"):
        named = row["error"] if row["source"] in row["error"] else f"{row['source']}: {row['error']}"
        click.echo(f"lapic: {named}", err=True)
    if not many["quiet"]:
        for row in report.of("done"):
            for note in row["notes"]:
                click.echo(f"{row['source']}: {note}", err=True)
        for hint in dict.fromkeys(hint for row in report.of("done") for hint in row.get("hints", [])):
            click.echo(f"lapic: {hint}", err=True)
        click.echo(report.summary(), err=True)
    if report.of("failed"):
        sys.exit(1)


def make_pictures(
    work: Callable, job: Callable, suffixes: set[str], inputs: tuple[str, ...], output: str, suffix: str | None,
    quiet: bool, recursive: bool, jobs: int, skip_existing: bool, manifest: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Make one picture file, or many in a folder.

    Args:
        work: does a job. job: makes one of source, target, suffix and `settings`.
        suffixes: of the files to take from folders.
        suffix: of the pictures without its dot; None goes by the name of `output`, and is PNG for folders and pipes.
    """
    from codec import batch

    if batch.is_batch(inputs, output):
        many = {"recursive": recursive, "jobs": jobs, "skip_existing": skip_existing, "manifest": manifest}
        to = f".{suffix or 'png'}"

        def job_of(pair: batch.Pair) -> Any:
            return job(str(pair.source), str(pair.target), to, keep_times=True, **settings)

        convert_many(work, job_of, suffixes, to, inputs, output, many | {"quiet": quiet})
        return
    if skip_existing and Path(output).exists():
        return
    suffix = f".{suffix}" if suffix else Path(output).suffix if output != "-" else ".png"
    facts = work(job(inputs[0], output, suffix, **settings), tile_progress(quiet))
    note_losses(inputs[0], facts, quiet, manifest, output)


def note_losses(name: str, facts: dict[str, Any], quiet: bool, manifest: str | None, target: str) -> None:
    """Say what one file could not keep or what of it is missing; write the manifest if one is asked for."""
    from codec import batch

    if not quiet:
        for note in facts["notes"]:
            click.echo(f"{name}: {note}", err=True)
        for hint in facts.get("hints", []):
            click.echo(f"lapic: {hint}", err=True)
    if manifest:
        batch.write_manifest(batch.Report([{"source": name, "target": target, "status": "done", **facts}]), manifest)
