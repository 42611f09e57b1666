"""Damaged, restored and original pictures side by side, as one picture to look at.

    python benchmarks/before_after.py OUT [--dusk MODEL] [--examples FOLDER]

The pictures are those of examples/, or of the same names in FOLDER. With --dusk, instead: photos as at dusk
(examples/dusk_pairs.py), translated by a model that has learned the way back, and as they were.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from sheet import Row, sheet

import lapic
from lapic.codec.metrics import psnr
from lapic.codec.restore.restoration import LOOKS
from lapic.training.degradations import compress, gaussian_noise

EXAMPLES = Path(__file__).parents[1] / "examples"


def row(clean: Image.Image, shown: dict[str, Image.Image], box: tuple[int, ...]) -> Row:
    """A column for each picture that is shown, with PSNR of the whole picture, and the original."""
    found = [(f"{label}, {psnr(clean, image):.2f} dB", image.crop(box)) for label, image in shown.items()]
    return [*found, ("original", clean.crop(box))]


def looks(damaged: Image.Image, task: str) -> dict[str, Image.Image]:
    """Restored in either way."""
    return {f"restored, {look}": lapic.restore(damaged, task, look=look) for look in LOOKS}


def restored(folder: Path) -> list[Row]:
    """A row for each task, of pictures in a folder."""
    coffee, cat, rocket, face = (
        Image.open(folder / name).convert("RGB")
        for name in ("coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png")
    )
    blocky = Image.fromarray(compress(np.asarray(coffee), 10))
    noisy = Image.fromarray(gaussian_noise(np.asarray(face), 25, np.random.default_rng(0)))
    rows = []
    for name, clean, damaged, task, corner in (
        ("JPEG, quality 10", coffee, blocky, "jpeg", (160, 60)),
        ("noise of sigma 25", face, noisy, "denoise", (120, 40)),
        ("blur of sigma 1.6", rocket, rocket.filter(ImageFilter.GaussianBlur(1.6)), "deblur", (190, 90)),
    ):
        box = (*corner, corner[0] + 260, corner[1] + 200)
        rows.append(row(clean, {name: damaged} | looks(damaged, task), box))
    clean = cat.crop((0, 0, cat.width // 2 * 2, cat.height // 2 * 2))
    small = clean.resize((clean.width // 2, clean.height // 2), Image.Resampling.BICUBIC)
    bicubic = small.resize(clean.size, Image.Resampling.BICUBIC)
    rows.append(row(clean, {"doubled, bicubic": bicubic} | looks(small, "upscale"), (120, 60, 380, 260)))
    return rows


def daylight(model: str, folder: Path) -> list[Row]:
    """A row for each of two photos in a folder."""
    spec = importlib.util.spec_from_file_location("dusk_pairs", EXAMPLES / "dusk_pairs.py")
    dusk_pairs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dusk_pairs)
    rows = []
    for name in ("coffee.png", "astronaut.png"):
        clean = Image.open(folder / name).convert("RGB")
        dark = Image.fromarray(dusk_pairs.dusk(np.asarray(clean), np.random.default_rng(0)))
        box = (100, 20, 400, 280)
        rows.append(row(clean, {"dusk": dark, "translated": lapic.translate(dark, model)}, box))
    return rows


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dusk", metavar="MODEL")
    parser.add_argument("--examples", metavar="FOLDER", type=Path, default=EXAMPLES)
    options = parser.parse_args()
    rows = daylight(options.dusk, options.examples) if options.dusk else restored(options.examples)
    sheet(rows).save(options.out, quality=90)


if __name__ == "__main__":
    main()
