"""The commands `lapic restore` and `lapic translate`. Nothing heavy is imported before they need it."""

from pathlib import Path
from typing import Any

import click

from codec.console import one_line_errors, tile_progress, with_options
from codec.many import DEVICE, MANY, MAX_PIXELS, QUIET, convert_many, note_losses

SHARED = [
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
    click.argument("output"),
    click.option(
        "--strength",
        type=click.FloatRange(0, 1),
        default=1.0,
        show_default=True,
        help="Share of the change.",
    ),
    click.option("--format", "suffix", help="Output format such as png; by the name of OUTPUT if not given."),
    click.option("--strip", is_flag=True, help="Leave out ICC profile, EXIF and XMP."),
    *MANY,
    MAX_PIXELS,
    DEVICE,
    QUIET,
]


def _retouch(
    inputs: tuple[str, ...], output: str, suffix: str | None, quiet: bool, recursive: bool, jobs: int,
    skip_existing: bool, manifest: str | None, **settings: Any,
) -> None:  # fmt: skip
    """One file to another, or many into a folder."""
    from codec import batch, files, retouch

    if batch.is_batch(inputs, output):
        many = {"recursive": recursive, "jobs": jobs, "skip_existing": skip_existing, "manifest": manifest}
        to = f".{suffix or 'png'}"

        def job_of(pair: batch.Pair) -> retouch.RetouchJob:
            return retouch.RetouchJob(str(pair.source), str(pair.target), to, keep_times=True, **settings)

        taken = files.picture_suffixes() - {".lapic"}
        convert_many(retouch.retouch_file, job_of, taken, to, inputs, output, many | {"quiet": quiet})
        return
    if skip_existing and Path(output).exists():
        return
    suffix = f".{suffix}" if suffix else Path(output).suffix if output != "-" else ".png"
    job = retouch.RetouchJob(inputs[0], output, suffix, **settings)
    facts = retouch.retouch_file(job, tile_progress(quiet))
    note_losses(inputs[0], facts, quiet, manifest, output)


@click.command()
@click.option(
    "--task", type=click.Choice(["auto", "jpeg", "denoise", "deblur", "upscale"]), default="auto", show_default=True,
    help="What to repair; auto: jpeg for pictures from lossy files, denoise where noise is visible, else jpeg.",
)  # fmt: skip
@click.option(
    "--scale",
    type=click.Choice(["2", "4"]),
    default="2",
    show_default=True,
    help="For upscale.",
)
@with_options(SHARED)
@one_line_errors
def restore(scale: str, **options: Any) -> None:
    """Repair pictures that other codecs, cameras or scalers damaged; "-" is standard input or output.

    Several inputs, folders and patterns go into the folder OUTPUT, as PNG if --format says nothing else.
    """
    _retouch(scale=int(scale), **options)


@click.command()
@click.option(
    "--model", required=True, metavar="FILE", help="Weights that lapic-train made, or grey:FACTOR for grey density."
)
@with_options(SHARED)
@one_line_errors
def translate(**options: Any) -> None:
    """Translate pictures into the style that a model has learned; "-" is standard input or output.

    Several inputs, folders and patterns go into the folder OUTPUT, as PNG if --format says nothing else.
    """
    _retouch(**options)
