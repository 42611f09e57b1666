"""Seconds of models' encodes and decodes, in bfloat16 and in float32, beside CompressAI's mbt2018-mean and the bars of
the second generation, in one process; peak memory for the largest picture.

    python benchmarks/generations.py PICTURE [--models photo,MY.safetensors] [--threads 2] [--rounds 5] [--quality 50]
        [--dtypes float32] [--small 768x512] [--middle 1920x1080] [--large 3840x2160]

The picture is resized to each size; the middle one is decoded on one thread. From pixels to bytes and back, entropy
coding on both sides; medians. mbt2018-mean has untrained weights (quality 3), which take the same time to transform.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from speed import gib_of, peer, size_of
from timing import measure

from lapic.bitstream import read
from lapic.codec.decode.decoder import decode_pixels
from lapic.codec.defaults import DEFAULT_EFFORT
from lapic.codec.encode.encoder import encode_pixels
from lapic.codec.evaluation.cost import cost
from lapic.codec.model.codec_weights import Model, default_dtype, load

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
PEER = {"decode": "decompress", "encode": "compress", "encode -e 0": "compress"}
# How many times as fast as mbt2018-mean a job must be at the small size, and the seconds that it may take at others,
# in bfloat16 and in float32; the middle size is for one thread.
AS_FAST = {"decode": 10.0, "encode": 1.0, "encode -e 0": 4.0}
SECONDS = {
    "middle": {"decode": {"bfloat16": 0.126}},
    "large": {
        "decode": {"bfloat16": 0.6, "float32": 1.2},
        "encode": {"bfloat16": 6.0, "float32": 15.0},
        "encode -e 0": {"bfloat16": 1.5, "float32": 4.0},
    },
}
MEMORY = 1.5  # GiB, at the large size
PEAK = """
import sys, numpy, torch
from PIL import Image
from lapic.bitstream import read
from lapic.codec.decode.decoder import decode_pixels
from lapic.codec.encode.encoder import encode_pixels
from lapic.codec.evaluation.peak import PeakMemory
from lapic.codec.model.codec_weights import load
model, dtype, picture, width, height, quality, effort, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
with Image.open(picture) as image:
    pixels = numpy.asarray(image.convert("RGB").resize((int(width), int(height))))
with PeakMemory() as memory:
    data = encode_pixels(load(model, dtype=getattr(torch, dtype)), pixels, float(quality), effort=int(effort))
    decode_pixels(load(model, dtype=getattr(torch, dtype)), *read(data))
print(memory.peak)
"""


def computed() -> list[str]:
    """The types that the processor computes in; one that it emulates takes twenty times as long."""
    return [name for name, dtype in DTYPES.items() if dtype in (torch.float32, default_dtype(torch.device("cpu")))]


def jobs(model: Model, pixels: np.ndarray, quality: float) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    header, tiles = read(encode_pixels(model, pixels, quality, effort=DEFAULT_EFFORT))
    return {
        "decode": lambda: decode_pixels(model, header, tiles),
        "encode": lambda: encode_pixels(model, pixels, quality, effort=DEFAULT_EFFORT),
        "encode -e 0": lambda: encode_pixels(model, pixels, quality),
    }


def peak_memory(options: argparse.Namespace, name: str, dtype: str) -> float:
    """GiB of a process that encodes and decodes the large picture."""
    given = (name, dtype, options.picture, *options.large, options.quality, DEFAULT_EFFORT, options.threads)
    return gib_of(PEAK, *given)


def row(which: str, job: str, found: float, unit: str, bar: float | None, is_least: bool = False) -> None:
    """Print a row of the table; the bar is the most that is allowed, or the least."""
    met = bar is not None and (found >= bar if is_least else found <= bar)
    told = "" if bar is None else f"{'>=' if is_least else '<='} {bar:<7g}{'met' if met else 'MISSED'}"
    print(f"  {which:10}{job:14}{found:9.3f} {unit:8}{told}", flush=True)


def report(options: argparse.Namespace, pixels: dict[str, np.ndarray], name: str, dtype: str, theirs: dict) -> None:
    """Print the figures of a model in one type."""
    model = load(name, dtype=DTYPES[dtype])
    parts = cost(model)
    print(f"{model.name}, {dtype}, kMAC/pixel: encode {parts['encode']:.2f}, decode {parts['decode']:.2f}")
    for job, work in jobs(model, pixels["small"], options.quality).items():
        time = measure(work, options.rounds).median
        row("small", job, time, "s", None)
        row("small", job, theirs[PEER[job]] / time, "x as fast", AS_FAST[job], is_least=True)
    for which, bars in SECONDS.items():
        torch.set_num_threads(1 if which == "middle" else options.threads)
        work = jobs(model, pixels[which], options.quality)
        for job, bar in bars.items():
            row(which, job, measure(work[job], options.rounds).median, "s", bar.get(dtype))
    row("large", "peak memory", peak_memory(options, name, dtype), "GiB", MEMORY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--models", default="photo", help="names and weights files, with commas")
    parser.add_argument("--dtypes", default=",".join(computed()))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quality", type=float, default=50)
    sizes = {"small": "768x512", "middle": "1920x1080", "large": "3840x2160"}
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", default=size, type=size_of)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with Image.open(options.picture) as image:
        pictures = {name: image.convert("RGB").resize(getattr(options, name)) for name in sizes}
    compress, decompress = peer(pictures["small"])
    theirs = {
        "compress": measure(compress, options.rounds).median,
        "decompress": measure(decompress, options.rounds).median,
    }
    print(f"torch {torch.__version__}, quality {options.quality:g}, medians of {options.rounds} rounds")
    print(f"{options.threads} threads, for the middle size 1")
    print(", ".join("{} {} x {}".format(name, *picture.size) for name, picture in pictures.items()))
    print(", ".join(f"mbt2018-mean {name}, small: {time:.3f} s" for name, time in theirs.items()))
    pixels = {name: np.asarray(picture) for name, picture in pictures.items()}
    for name in options.models.split(","):
        for dtype in options.dtypes.split(","):
            report(options, pixels, name, dtype, theirs)


if __name__ == "__main__":
    main()
