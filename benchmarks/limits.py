"""What photos never show, by two models at equal bytes: text, line art, patterns, screenshots, flat colours, noise.

    python benchmarks/limits.py --now lapic@model=FILE [--before lapic] [--qualities 10,30,60] [--kinds NAME,...]
        [--edge 256] [--results FILE]

Each picture is drawn anew, the same on every machine but for the font. `before` is encoded at each quality; `now` gets
a file of so many bytes or up to half a percent less, and where its qualities end before, `before` comes to meet
it. PSNR above 60 dB counts as 60, for more is not seen. Prints a table; --results keeps it as data.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from measures import without_folders
from page import table
from PIL import Image, ImageDraw
from tables import Table, column, text_of

from lapic.codec.evaluation import codecs
from lapic.codec.evaluation.codec import Codec, Pixels
from lapic.codec.evaluation.matching import quality_at_size
from lapic.codec.evaluation.metrics import ssimulacra2
from lapic.codec.metrics import psnr

WORDS = "A learned image codec that people can use: small files, exact on every device, weights inside. 0123456789 "
BEST = 60.0  # dB
CLOSE = 0.005  # of the bytes, by which a file may be smaller
UNLIKE = 0.02  # sizes that differ by this share are not equal
ALLOWED = {"PSNR": -0.5, "SSIMULACRA2": -2.0}


def lines_of_text(edge: int, ink: str, paper: str, size: int) -> Image.Image:
    """A page full of text."""
    made = Image.new("RGB", (edge, edge), paper)
    for number, top in enumerate(range(4, edge, size + 4)):
        ImageDraw.Draw(made).text((4, top), (WORDS * 9)[7 * number :][:200], fill=ink, font_size=size)
    return made


def line_art(edge: int) -> Image.Image:
    """Thin lines, circles and hatching in black on white."""
    made = Image.new("RGB", (edge, edge), "white")
    draw = ImageDraw.Draw(made)
    for step in range(0, edge, 12):
        draw.line((0, step, edge // 2, edge - step), fill="black")
        draw.ellipse((edge // 2 - step // 2, step // 2, edge - step // 3, edge // 2), outline="black")
    for step in range(edge // 2, edge, 5):
        draw.line((step, edge // 2, edge - 1, edge + edge // 2 - step), fill="black")
    return made


def stripes(edge: int, axis: int) -> Image.Image:
    """Stripes of one pixel in full contrast: rows for axis 0, columns for axis 1."""
    return Image.fromarray((np.indices((edge, edge))[axis] % 2 * 255).astype(np.uint8)).convert("RGB")


def checks(edge: int, cell: int, first: tuple[int, ...], second: tuple[int, ...]) -> Image.Image:
    """A checkerboard of two colours."""
    rows, columns = np.indices((edge, edge)) // cell
    return Image.fromarray(np.array([first, second], np.uint8)[(rows + columns) % 2])


def blocks(edge: int) -> Image.Image:
    """Random blocks of 10 pixels in full colours."""
    count = -(-edge // 10)
    cells = np.random.default_rng(1).integers(0, 2, (count, count, 3), np.uint8) * 255
    return Image.fromarray(np.ascontiguousarray(cells.repeat(10, 0).repeat(10, 1)[:edge, :edge]))


def screenshot(edge: int) -> Image.Image:
    """A window with a title bar, a list, buttons and icons."""
    made = Image.new("RGB", (edge, edge), "#e8eaed")
    draw = ImageDraw.Draw(made)
    for row in range(24):
        draw.line((0, row, edge, row), fill=(40 + 3 * row, 80 + 3 * row, 160 + 2 * row))
    draw.text((8, 4), "Pictures", fill="white", font_size=13)
    for number, top in enumerate(range(32, edge - 40, 20)):
        draw.rectangle((6, top, edge - 6, top + 17), fill="#cfe3ff" if number == 2 else "white", outline="#b0b4ba")
        draw.ellipse((10, top + 3, 21, top + 14), fill=("#d93025", "#188038", "#f9ab00")[number % 3])
        draw.text((28, top + 2), f"photo-{number:04}.lapic   {37 * number + 12} KB", fill="#202124", font_size=11)
    draw.rounded_rectangle((edge - 70, edge - 30, edge - 8, edge - 8), 5, fill="#1a73e8")
    draw.text((edge - 54, edge - 26), "Open", fill="white", font_size=12)
    return made


def flat(edge: int) -> Image.Image:
    """Rectangles of few colours."""
    cells = np.random.default_rng(2).integers(0, 256, (3, 3, 3), np.uint8)
    return Image.fromarray(cells).resize((edge, edge), Image.Resampling.NEAREST)


def noise(edge: int, channels: int) -> Image.Image:
    """Gaussian noise of 25 grey levels on grey, alike or different in the three channels."""
    values = np.random.default_rng(3).normal(128, 25, (edge, edge, channels))
    return Image.fromarray(np.repeat(values.clip(0, 255).astype(np.uint8), 3 // channels, 2))


KINDS: dict[str, Callable[[int], Image.Image]] = {
    "text black on white": lambda edge: lines_of_text(edge, "black", "white", 12),
    "text white on blue": lambda edge: lines_of_text(edge, "white", "#1040c0", 16),
    "text red on green": lambda edge: lines_of_text(edge, "#d02020", "#30a040", 16),
    "line art": line_art,
    "screenshot": screenshot,
    "flat colours": flat,
    "rows of one pixel": lambda edge: stripes(edge, 0),
    "columns of one pixel": lambda edge: stripes(edge, 1),
    "checkerboard of one pixel": lambda edge: checks(edge, 1, (0, 0, 0), (255, 255, 255)),
    "checkerboard of two pixels": lambda edge: checks(edge, 2, (0, 0, 0), (255, 255, 255)),
    "checkerboard of red and green": lambda edge: checks(edge, 1, (255, 0, 0), (0, 255, 0)),
    "blocks of 10 pixels": blocks,
    "noise in grey": lambda edge: noise(edge, 1),
    "noise in colours": lambda edge: noise(edge, 3),
}


def measured(codec: Codec, pixels: Pixels, quality: float) -> tuple[int, float, float]:
    """Bytes, PSNR and SSIMULACRA2 of a picture at a quality."""
    data = codec.encode(pixels, quality)
    decoded = codec.decode(data)
    return len(data), min(psnr(pixels, decoded), BEST), ssimulacra2(pixels, decoded)


def row(name: str, pixels: Pixels, before: Codec, now: Codec, quality: float) -> list[str | float]:
    """A picture at a quality of `before` and at as many bytes of `now`; at the bytes that `now` comes nearest with, if
    its qualities end before."""
    size, error, seen = measured(before, pixels, quality)
    size_now, error_now, seen_now = measured(now, pixels, quality_at_size(now, pixels, size, close=CLOSE))
    if abs(size_now - size) > UNLIKE * size:
        size, error, seen = measured(before, pixels, quality_at_size(before, pixels, size_now, close=CLOSE))
    gains = round(error_now - error, 2), round(seen_now - seen, 1)
    values = [
        size,
        size_now,
        round(error, 2),
        round(error_now, 2),
        gains[0],
        round(seen, 1),
        round(seen_now, 1),
        gains[1],
    ]
    return [name, quality, *values]


def compared(rows: list[list[str | float]], before: Codec, now: Codec) -> Table:
    """The rows as a table of results."""
    columns = [column("picture"), column("quality", "g"), column("bytes", "d"), column("bytes now", "d")]
    columns += [column("PSNR", ".2f", "dB"), column("now", ".2f", "dB"), column("gain", "+.2f", "dB")]
    columns += [column("SSIMULACRA2", ".1f"), column("now", ".1f"), column("gain", "+.1f")]
    caption = f"{now.label} (now) against {before.label}, at equal bytes."
    origin = {
        "command": shlex.join(["python", "benchmarks/limits.py", *map(without_folders, sys.argv[1:])]),
        "date": datetime.now(UTC).date().isoformat(),
    }
    return {"name": "limits", "caption": caption, **origin, "columns": columns, "rows": rows}


def verdict(rows: list[list[str | float]]) -> str:
    """Which pictures lose more than is allowed."""
    lost = [f"{line[0]} at {line[1]:g} ({line[6]:+.2f} dB, {line[9]:+.1f})" for line in rows
            if float(line[6]) < ALLOWED["PSNR"] or float(line[9]) < ALLOWED["SSIMULACRA2"]]  # fmt: skip
    return f"{len(lost)} of {len(rows)} lose more than 0.5 dB or 2 points" + (f": {'; '.join(lost)}" if lost else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="lapic")
    parser.add_argument("--now", default="lapic")
    parser.add_argument("--qualities", default="10,30,60")
    parser.add_argument("--kinds", help="beginnings of names, all pictures by default")
    parser.add_argument("--edge", type=int, default=256)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    wanted = tuple(given.kinds.split(",")) if given.kinds else ("",)
    if unknown := [start for start in wanted if not any(name.startswith(start) for name in KINDS)]:
        parser.error(f"--kinds: no picture begins with {', '.join(unknown)}; there are {', '.join(KINDS)}")
    before, now = codecs.make(given.before), codecs.make(given.now)
    rows = []
    for name, draw in KINDS.items():
        if name.startswith(wanted):
            pixels = np.asarray(draw(given.edge))
            for quality in map(float, given.qualities.split(",")):
                rows.append(row(name, pixels, before, now, quality))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    made = compared(rows, before, now)
    print(table(made) + "\n\n" + verdict(rows))
    if given.results:
        given.results.write_text(text_of(made).strip() + "\n")


if __name__ == "__main__":
    main()
