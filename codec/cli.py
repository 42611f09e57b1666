"""The command `lapic`. Nothing heavy is imported before a command needs it."""

import json
import time
from pathlib import Path
from typing import Any

import click

import codec
from codec.console import one_line_errors, tile_progress
from codec.evaluation import commands

DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
QUIET = click.option("--quiet", is_flag=True, help="Print nothing but errors.")


class _Crop(click.ParamType):
    """X,Y,W,H as four integers."""

    name = "X,Y,W,H"

    def convert(self, value: str, param: Any, ctx: Any) -> tuple[int, ...]:
        try:
            numbers = tuple(int(number) for number in value.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 4:
            self.fail(f"{value!r} is not four integers such as 0,0,640,480", param, ctx)
        return numbers


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(codec.__version__, "-V", "--version", prog_name="lapic")
def main() -> None:
    """A learned image codec: compress photos to small .lapic files, and back."""


@main.command()
@click.argument("input")
@click.argument("output")
@click.option(
    "-q", "--quality", type=click.FloatRange(1, 100), default=codec.DEFAULT_QUALITY, show_default=True,
    help="1 (smallest) to 100 (best).",
)  # fmt: skip
@click.option("--tile", type=int, default=1024, show_default=True, help="Edge of the tiles in pixels, 0 for one tile.")
@click.option("--model", default=codec.DEFAULT_MODEL, show_default=True, help="A shipped model, or a weights file.")
@click.option("--max-pixels", type=click.IntRange(1), default=codec.MAX_PIXELS, show_default=True)
@DEVICE
@QUIET
@one_line_errors
def encode(
    input: str, output: str, quality: float, tile: int, model: str, max_pixels: int, device: str, quiet: bool
) -> None:
    """Compress a picture to a .lapic file; "-" is standard input or output."""
    from PIL import Image

    from codec import files, picture

    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, checked before the pixels are read
    began = time.perf_counter()
    image = picture.open_image(files.read_input(input), max_pixels)
    data = codec.encode(image, quality, model=model, tile=tile, device=device, progress=tile_progress(quiet))
    files.write_output(output, data)
    if not quiet:
        pixels, seconds = image.width * image.height, time.perf_counter() - began
        bpp = 8 * len(data) / pixels
        click.echo(
            f"{image.width} x {image.height}, {len(data)} bytes, {bpp:.3f} bpp, "
            f"{seconds:.2f} s, {pixels / seconds / 1e6:.1f} MP/s",
            err=True,
        )


@main.command()
@click.argument("input")
@click.argument("output")
@click.option(
    "--scale", type=click.Choice(["1", "2", "4", "8"]), default="1", show_default=True, help="1/SCALE of the size."
)
@click.option("--crop", type=_Crop(), help="Part of the full-size picture, in pixels.")
@click.option("--format", "suffix", help="Output format such as png; by the name of OUTPUT if not given.")
@click.option("--max-pixels", type=click.IntRange(1), default=codec.MAX_PIXELS, show_default=True)
@DEVICE
@QUIET
@one_line_errors
def decode(
    input: str,
    output: str,
    scale: str,
    crop: tuple[int, int, int, int] | None,
    suffix: str | None,
    max_pixels: int,
    device: str,
    quiet: bool,
) -> None:
    """Decompress a .lapic file to a picture (PNG on standard output); "-" is standard input or output."""
    from codec import files, picture

    suffix = f".{suffix}" if suffix else Path(output).suffix if output != "-" else ".png"
    picture.format_of(suffix)  # complain before the work, not after
    data = files.read_input(input)
    image = codec.decode(
        data, scale=int(scale), crop=crop, device=device, max_pixels=max_pixels, progress=tile_progress(quiet)
    )
    files.write_output(output, picture.save_bytes(image, suffix))


@main.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@one_line_errors
def info(file: str, as_json: bool) -> None:
    """Say what is in a .lapic file and what each part costs."""
    from codec import files

    found = codec.info(files.read_input(file))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    model = found["model"]
    click.echo(
        f"{found['width']} x {found['height']} {found['mode']}, quality {found['quality']:g}, {found['bpp']:.3f} bpp"
    )
    click.echo(f"model {model['id']} ({model['name'] or 'not installed'}), format version {found['format_version']}")
    click.echo(f"{found['tiles']} tile(s)" + (f" of {found['tile']} pixels" if found["tile"] else ""))
    for part, size in found["bytes"].items():
        click.echo(f"{part:>10} {size:>10} bytes")


for command in (commands.evaluate, commands.plot, commands.compare):
    main.add_command(command)

if __name__ == "__main__":
    main()
