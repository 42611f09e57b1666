"""Which of one's own photos a model is trained on, and which measure it."""

import shutil
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from lapic.bitstream import Error
from lapic.codec.command.workers import cores
from lapic.training.data import MOST_GIB, list_pictures, read_ahead, read_rgb

LEAST_EDGE = 512  # pixels: the tables are fitted to crops of this size
LEAST_PICTURES = 8
HELD_OUT = 5  # one picture of so many is held out,
MOST_HELD_OUT = 24  # but no more than these


def split(folder: Path, seed: int = 0) -> tuple[list[Path], list[Path]]:
    """The pictures of a folder in two parts, drawn at random: those to train on, and a fifth of all, but no more than
    MOST_HELD_OUT, to measure by. Those with an edge below LEAST_EDGE are left out, those that cannot be decoded with a
    line for each, and those beyond the memory that training takes.

    Raises:
        Error: there are fewer than LEAST_PICTURES. FileNotFoundError: there are none.
    """
    found = list_pictures(folder)
    large = [path for path in found if _shorter_edge(path) >= LEAST_EDGE]
    usable = _readable([large[number] for number in np.random.default_rng(seed).permutation(len(large))])
    if len(usable) < LEAST_PICTURES:
        raise Error(
            f"{folder} has {len(usable)} readable pictures of at least {LEAST_EDGE} x {LEAST_EDGE} pixels "
            f"(of {len(found)} in all): {LEAST_PICTURES} are needed"
        )
    count = min(MOST_HELD_OUT, len(usable) // HELD_OUT)
    return usable[count:], usable[:count]


def _readable(paths: list[Path]) -> list[Path]:
    """Those of pictures that can be decoded, from the first on until training's memory is full. Prints a line for each
    of the others."""
    readable, space = [], MOST_GIB * 2**30
    with closing(read_ahead(_decoded_bytes, paths, cores())) as sizes:
        for path, (size, failure) in zip(paths, sizes, strict=False):
            if failure:
                print(f"left out: {failure}", flush=True)
                continue
            readable.append(path)
            space -= size
            if space < 0:
                break
    return readable


def _decoded_bytes(path: Path) -> tuple[int, str]:
    """The size of a decoded picture in bytes, and an empty line; or 0 and why it cannot be read."""
    try:
        return read_rgb(path).nbytes, ""
    except Error as error:
        return 0, str(error)


def _shorter_edge(path: Path) -> int:
    """Of a picture in pixels; 0 if its header cannot be read."""
    try:
        with Image.open(path) as image:
            return min(image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0


def link(name: Path, picture: Path) -> None:
    """Give a picture another name: by a link, or where the system allows none, as Windows does by default, by a copy.
    Raises OSError if that fails."""
    for make in (Path.symlink_to, Path.hardlink_to):
        with suppress(OSError):
            make(name, picture.resolve())
            return
    shutil.copyfile(picture, name)
