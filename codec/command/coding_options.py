"""The options of `lapic encode` and `lapic decode` that say how a picture is coded."""

from typing import Any

import click

from lapic.codec import defaults
from lapic.codec.command.console import Finite
from lapic.codec.command.options import MODEL


def _known_tile(context: Any, parameter: Any, value: int) -> int:
    from lapic.bitstream.container import TILES

    if value and value not in TILES:
        raise click.BadParameter(f"{value} is not 64 times a power of two up to {TILES[-1]}, or 0")
    return value


class _Crop(click.ParamType):
    """X,Y,W,H as four integers."""

    name = "X,Y,W,H"

    def convert(self, value: str, param: Any, ctx: Any) -> tuple[int, ...]:
        try:
            numbers = tuple(int(number) for number in value.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 4 or min(numbers[:2]) < 0 or min(numbers[2:]) < 1:
            self.fail(f"{value!r} is not x,y,width,height in pixels, such as 0,0,640,480", param, ctx)
        return numbers


class _Bytes(click.ParamType):
    """A number of bytes, with k or M for thousands and millions."""

    name = "BYTES"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        text, factor = str(value), 1
        if text.endswith(("k", "K", "M")):
            text, factor = text[:-1], 1_000_000 if text[-1] == "M" else 1000
        try:
            count = int(float(text) * factor)
        except (ValueError, OverflowError):  # OverflowError for "inf"
            count = 0
        if count < 1:
            self.fail(f"{value!r} is not a number of bytes such as 50000, 200k or 1.5M", param, ctx)
        return count


ENCODE_OPTIONS = [
    click.option(
        "-q",
        "--quality",
        type=Finite(1, 100),
        default=defaults.DEFAULT_QUALITY,
        show_default=True,
        help="1 (smallest) to 100 (best).",
    ),
    click.option("--size", type=_Bytes(), help="Instead of -q: at most this many bytes, such as 200k or 1.5M."),
    click.option("--bpp", type=Finite(0, min_open=True), help="Instead of -q: about this many bits per pixel."),
    click.option("--psnr", type=Finite(0, min_open=True), help="Instead of -q: about this many dB."),
    click.option(
        "-e",
        "--effort",
        type=click.IntRange(0, 9),
        default=defaults.DEFAULT_EFFORT,
        show_default=True,
        help="How long to search for a smaller file: 0 (one pass) to 9; decoding takes no longer.",
    ),
    click.option(
        "--tune",
        type=click.Choice(defaults.TUNES),
        default=defaults.DEFAULT_TUNE,
        show_default=True,
        help="What the file is to be best by: how it looks, or PSNR.",
    ),
    click.option(
        "--roi",
        multiple=True,
        metavar="REGION",
        help="A region that matters: MASK.png (white counts most), X,Y,W,H[,WEIGHT], faces, text or auto; several add "
        "up.",
    ),
    click.option("--lanes", is_flag=True, help="Cut the data into lanes that a GPU decodes at once; costs 0.4 %."),
    click.option(
        "--tile",
        type=int,
        default=1024,
        show_default=True,
        callback=_known_tile,
        help="Edge of the tiles in pixels: 64 times a power of two, or 0 for one tile.",
    ),
    click.option(
        "--model",
        default=defaults.AUTO_MODEL,
        show_default=True,
        help="A model by name or weights file, which decoders need too; auto: the shipped one for quality and tune, "
        "and that of psnr for drawings, text and patterns. eye and photo: eye-high and photo-high above quality 60.",
    ),
    click.option("--strip", is_flag=True, help="Leave out ICC profile, EXIF and XMP."),
    click.option(
        "--keep-hidden",
        is_flag=True,
        help="Keep the colours of fully transparent pixels; they are filled smoothly otherwise.",
    ),
    click.option("--strict", is_flag=True, help="Refuse pictures if something cannot be kept, such as 16-bit depth."),
    click.option(
        "--metrics",
        default="",
        metavar="NAMES",
        help="Measure each file, for --json: psnr,ms_ssim,ssimulacra2 and other metrics of lapic evaluate.",
    ),
    click.option("--frames", is_flag=True, help="Encode all frames of an animation into the folder OUTPUT."),
]
DECODE_OPTIONS = [
    click.option(
        "--scale", type=click.Choice(["1", "2", "4", "8"]), default="1", show_default=True, help="1/SCALE of the size."
    ),
    click.option("--crop", type=_Crop(), help="Part of the full-size picture, in pixels."),
    click.option("--format", "suffix", help="Output format such as png; by the name of OUTPUT if not given."),
    click.option(
        "--realism",
        type=Finite(0, 1),
        default=0.0,
        show_default=True,
        help="0: nearest to the original; 1: looks most like a photo, with invented texture.",
    ),
    MODEL,
    click.option("--salvage", is_flag=True, help="Decode the undamaged parts of a damaged file and fill in the rest."),
]
