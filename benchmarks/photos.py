"""Photos at equal bytes, enlarged: the original, lapic with two settings or models, AVIF and JPEG XL, and all measures.

    python benchmarks/photos.py FOLDER... --now lapic@model=FILE [--before lapic] --work WORK [--only PICTURE,...]
        [--page docs/PHOTOS.md] [--pictures docs/photos] [--choice benchmarks/photos.json] [--lpips-backbone FILE]

The choice names photos of the FOLDERs, the part of each that is shown, a rate, and what was seen. AVIF, whose qualities
are the coarsest, sets the bytes of a photo: its best file within the rate; all others get their best file of at most
so many bytes, to half a percent. What was found stays in WORK, so that a run goes on where it was interrupted. The
pictures call lapic's two columns "before" and "now"; the page calls them by their tune where they are shipped models.
"""

import argparse
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from sheet import sheet
from tables import DIGITS, METRICS

import lapic
from lapic.codec import files
from lapic.codec.command.console import print_stderr
from lapic.codec.evaluation import codecs, metrics
from lapic.codec.evaluation.cache import Cache, Point
from lapic.codec.evaluation.codec import Codec, Pixels
from lapic.codec.evaluation.matching import quality_at_size
from lapic.codec.evaluation.measure import load_rgb
from lapic.training.data import list_pictures

ROOT = Path(__file__).parent.parent
ZOOM = 2
BY_THEMSELVES: dict[str, dict[str, Any]] = {"lapic": {}, "lapic@psnr": {"tune": "psnr"}}  # meet a size, with these
ON_PAGE = {"lapic": "`--tune eye`", "lapic@psnr": "`--tune psnr`"}  # what the page calls these codecs
CLOSE = 0.005  # of the limit, by which a file may be smaller than it could be
MOST_BYTES = 3_000_000  # of all pictures of the page
INTRODUCTION = """# Photos at equal bytes

Made by `python benchmarks/photos.py FOLDER... --before {before} --now {now} --work WORK`. Each photo is compressed
whole, by every codec to the bytes that AVIF needs or about half a percent less; JPEG XL's qualities are whole numbers
here, so that its files may be smaller by up to a tenth. A part of the photo is shown, each pixel as {zoom} x {zoom},
beside the whole photo with that part framed. Measures are those of the whole photo; for LPIPS, Butteraugli and FLIP
less is better. The pictures here are lossless. What is said of them was seen in them, enlarged further. Realism is 0:
nothing is invented.

{codecs}
"""


@dataclass(frozen=True)
class Shown:
    """One way that a photo is shown: a name, its file's size (none for the original), pixels and measures."""

    name: str
    bytes: int | None
    pixels: Pixels
    point: Point


class Bench:
    """Codecs, what is measured, and where it is kept."""

    def __init__(self, work: Path, columns: dict[str, Codec], backbone: Path | None) -> None:
        self.files = work / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self.cache = Cache(work / "photos.jsonl")
        self.columns = columns
        self.backbone = backbone
        self.metrics = metrics.usable(metrics.METRICS, "squeeze", backbone, print_stderr)

    def best(self, codec: Codec, path: Path, pixels: Pixels, limit: int) -> tuple[bytes, Point]:
        """The best file of at most `limit` bytes, or the smallest there is, with its measures."""
        key = json.dumps([files.digest_of(path), codec.name, codec.version, limit, self.metrics])
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        file = self.files / f"{path.stem}-{codec.folder}-{limit}-{digest}{codec.suffix}"
        if key not in self.cache.points or not file.exists():
            data, quality = fitting(codec, pixels, limit)
            file.write_bytes(data)
            found = metrics.all_metrics(pixels, codec.decode(file.read_bytes()), self.metrics, "squeeze", self.backbone)
            self.cache.add(key, {"quality": quality, **found})
        return file.read_bytes(), self.cache.points[key]

    def compared(self, path: Path, rate: float) -> list[Shown]:
        """The original and all columns at the bytes that AVIF needs at a rate in bpp."""
        pixels = load_rgb(path)
        first = self.best(codecs.make("avif"), path, pixels, int(rate * pixels.shape[0] * pixels.shape[1] / 8))
        shown = [Shown("original", None, pixels, {})]
        for name, codec in self.columns.items():
            made, point = first if codec.name == "avif" else self.best(codec, path, pixels, len(first[0]))
            shown.append(Shown(name, len(made), codec.decode(made), point))
        return shown


def fitting(codec: Codec, pixels: Pixels, limit: int) -> tuple[bytes, float]:
    """The best file of at most `limit` bytes, or the smallest there is, and its quality; lapic by its own search."""
    if codec.name in BY_THEMSELVES:
        data = lapic.encode(Image.fromarray(pixels), size=limit, **BY_THEMSELVES[codec.name])
        return data, lapic.info(data)["quality"]
    quality = quality_at_size(codec, pixels, limit, close=CLOSE)
    return codec.encode(pixels, quality), quality


def close_up(shown: list[Shown], box: tuple[int, int, int, int]) -> Image.Image:
    """A part of all ways in rows of three, enlarged; the whole photo, with the part framed, comes last."""
    x, y, width, height = box
    size = (ZOOM * width, ZOOM * height)
    cells = []
    for one in shown:
        part = Image.fromarray(np.ascontiguousarray(one.pixels[y : y + height, x : x + width]))
        label = one.name if one.bytes is None else f"{one.name}, {one.bytes:,} bytes"
        cells.append((label, part.resize(size, Image.Resampling.NEAREST)))
    whole = Image.fromarray(shown[0].pixels)
    ImageDraw.Draw(whole).rectangle((x, y, x + width, y + height), outline="white", width=8)
    whole.thumbnail((width, height), Image.Resampling.LANCZOS)
    frame = Image.new("RGB", size, "white")
    frame.paste(whole)
    cells.append(("the whole photo", frame))
    return sheet([cells[start : start + 3] for start in range(0, len(cells), 3)])


def table(shown: list[Shown], called: dict[str, str]) -> str:
    """Measures of all ways but the original, as a Markdown table; `called` has the page's names for theirs."""
    names = [name for name in METRICS if all(one.point.get(name) is not None for one in shown[1:])]
    lines = ["| | bytes | " + " | ".join(METRICS[name][0] for name in names) + " |", "|---" * (2 + len(names)) + "|"]
    pixels = shown[0].pixels.shape[0] * shown[0].pixels.shape[1]
    for one in shown[1:]:
        size = f"{one.bytes:,} ({8 * (one.bytes or 0) / pixels:.3f} bpp)"
        values = [f"{one.point[name]:.{DIGITS[name]}f}" for name in names]
        lines.append("| " + " | ".join([called[one.name], size, *values]) + " |")
    return "\n".join(lines)


def find(folders: list[Path], name: str) -> Path:
    """The picture of this name. Raises SystemExit if no folder has it."""
    for folder in folders:
        for path in list_pictures(folder):
            if path.stem == name:
                return path
    raise SystemExit(f"there is no picture {name} in {', '.join(map(str, folders))}")


def source_of(sources: dict[str, str], name: str) -> str:
    """Where a picture is from, by the beginning of its name."""
    return next(text for prefix, text in sources.items() if name.startswith(prefix))


def section(photo: dict[str, Any], source: str, measures: str, picture: str) -> str:
    """The part of the page on one photo, with its table of measures."""
    title = f"## {photo['category'].capitalize()}"
    parts = [title, f"![{photo['category']}]({picture})", photo["seen"], measures, f"{photo['picture']}: {source}."]
    return "\n\n".join(part for part in parts if part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--before", default="lapic")
    parser.add_argument("--now", default="lapic")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", help="photos of the choice, all by default")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "PHOTOS.md")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs" / "photos")
    parser.add_argument("--choice", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--lpips-backbone", type=Path)
    given = parser.parse_args()
    choice = json.loads(given.choice.read_text())
    photos = [one for one in choice["photos"] if not given.only or one["picture"] in given.only.split(",")]
    if given.only and (unknown := sorted(set(given.only.split(",")) - {one["picture"] for one in photos})):
        raise SystemExit(f"{given.choice} has no photo {', '.join(unknown)}")
    names = {"before": given.before, "now": given.now, "AVIF": "avif", "JPEG XL": "jxl"}
    columns = {label: codecs.make(name) for label, name in names.items()}
    called = {label: ON_PAGE.get(name, label) for label, name in names.items()}
    bench = Bench(given.work, columns, given.lpips_backbone)
    given.pictures.mkdir(parents=True, exist_ok=True)
    sections, total = [], 0
    for photo in photos:
        shown = bench.compared(find(given.folders, photo["picture"]), photo["bpp"])
        path = given.pictures / f"{photo['category'].replace(' ', '-')}.webp"
        close_up(shown, photo["box"]).save(path, lossless=True, method=6)
        total += path.stat().st_size
        link = Path(os.path.relpath(path, given.page.parent)).as_posix()
        sections.append(section(photo, source_of(choice["sources"], photo["picture"]), table(shown, called), link))
        print_stderr(f"{photo['category']}: {path.stat().st_size:,} bytes")
    labels = {label: name if name == label else f'{name}, "{label}" in the pictures' for label, name in called.items()}
    about = "\n".join(f"- {labels[label]}: {codec.label}; {codec.version}" for label, codec in columns.items())
    introduction = INTRODUCTION.format(zoom=ZOOM, codecs=about, before=given.before, now=given.now).rstrip()
    given.page.write_text("\n\n".join([introduction, *sections]) + "\n")
    print(f"{len(photos)} photos, pictures of {total:,} bytes in all")
    if total > MOST_BYTES:
        raise SystemExit(f"the pictures take more than {MOST_BYTES:,} bytes")


if __name__ == "__main__":
    main()
