"""The commands `lapic restore` and `lapic translate`. Nothing heavy is imported before they need it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lapic.codec.command.console import Finite, one_line_errors, with_options
from lapic.codec.command.options import BATCH_OPTIONS, DEVICE, MAX_PIXELS, PICTURE_OPTIONS, QUIET, convert_to_pictures

if TYPE_CHECKING:
    from lapic.codec.command.jobs import PictureJob

SHARED = [
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
    click.argument("output"),
    click.option("--strength", type=Finite(0, 1), default=1.0, show_default=True, help="Part of the change to make."),
    click.option("--format", "suffix", help="Output format such as png; by the name of OUTPUT if not given."),
    *PICTURE_OPTIONS,
    *BATCH_OPTIONS,
    MAX_PIXELS,
    DEVICE,
    QUIET,
]


def _pictures(work: Callable, job: "type[PictureJob]", **options: Any) -> None:
    """One picture file to another, or many into a folder."""
    from lapic.codec import files

    convert_to_pictures(work, job, files.picture_suffixes() - {".lapic"}, **options)


@click.command()
@click.option(
    "--task", type=click.Choice(["auto", "jpeg", "denoise", "deblur", "upscale"]), default="auto", show_default=True,
    help="What to repair; auto: jpeg for pictures from lossy files, denoise where noise is visible, else jpeg.",
)  # fmt: skip
@click.option("--scale", type=click.Choice(["2", "4"]), help="For --task upscale; 2 if not given.")
@click.option(
    "--look", type=click.Choice(["faithful", "realistic"]), default="faithful", show_default=True,
    help="faithful: the least error; realistic: sharper, with likely but invented texture.",
)  # fmt: skip
@with_options(SHARED)
@one_line_errors
def restore(scale: str | None, **options: Any) -> None:
    """Repair pictures that other codecs, cameras or scalers damaged; "-" is standard input or output.

    Several inputs, folders and patterns go into the folder OUTPUT, as PNG if --format says nothing else.
    """
    from lapic.codec.command.jobs import RestoreJob
    from lapic.codec.command.restore import restore_file

    if scale and options["task"] != "upscale":
        raise click.UsageError("--scale is for --task upscale")
    _pictures(restore_file, RestoreJob, scale=int(scale or 2), **options)


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
    from lapic.codec.command.jobs import TranslateJob
    from lapic.codec.command.restore import translate_file

    _pictures(translate_file, TranslateJob, **options)
