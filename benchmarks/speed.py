"""Seconds to encode and decode a photo and a large picture, and peak memory, beside CompressAI's mbt2018-mean and
Pillow's codecs, in one process, as a file of results that benchmarks/page.py reads.

    python benchmarks/speed.py PICTURE [--models auto,fast] [--threads 2] [--rounds 5] [--small 768x512]
        [--large 3840x2160] [--device cpu] [--results FILE]

From a picture in memory to the bytes of a file and back, entropy coding on both sides; medians. lapic takes quality 50
and its default tune, "auto" being its choice of model. mbt2018-mean has untrained weights (quality 3), which take the
same time to transform. Pillow's codecs take their default quality and speed, on as many threads as they like.
"""

import argparse
import io
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pillow_jxl  # noqa: F401, lets Pillow write JPEG XL
import torch
from measures import without_folders
from PIL import Image
from tables import Table, column, document, rounded
from timing import measure

import lapic
from lapic.codec.command.workers import cores
from lapic.codec.compat import import_compressai
from lapic.codec.model.codec_weights import default_dtype

QUALITY = 50
Work = Callable[[], object]
Times = dict[str, float]
PEAK = """
import sys, torch
from PIL import Image
import lapic
from lapic.codec.evaluation.peak import PeakMemory
threads, picture, model, device, width, height = sys.argv[1:]
torch.set_num_threads(int(threads))
with PeakMemory() as memory:
    image = Image.open(picture).convert("RGB").resize((int(width), int(height)))
    lapic.decode(lapic.encode(image, 50, model=model, device=device), device=device)
print(memory.peak)
"""


def peer(image: Image.Image, device: str = "cpu") -> tuple[Work, Work]:
    """CompressAI's mbt2018-mean on a device as an encode and a decode function for one picture."""
    import_compressai()
    from compressai.zoo import mbt2018_mean

    torch.manual_seed(0)
    net = mbt2018_mean(quality=3, pretrained=False).eval().to(device)
    net.update()
    pixels = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float() / 255
    pixels = torch.nn.functional.pad(pixels, (0, -image.width % 64, 0, -image.height % 64))
    coded = net.compress(pixels)

    def decode() -> object:
        with torch.inference_mode():
            return net.decompress(coded["strings"], coded["shape"])

    def encode() -> object:
        with torch.inference_mode():
            return net.compress(pixels)

    return encode, decode


def pillow(image: Image.Image, kind: str) -> tuple[Work, Work]:
    """Pillow's JPEG, WebP or AVIF at its default quality as an encode and a decode function for one picture."""

    def encode() -> bytes:
        out = io.BytesIO()
        image.save(out, kind)
        return out.getvalue()

    data = encode()
    return encode, lambda: Image.open(io.BytesIO(data)).load()


def label_of(model: str) -> str:
    """The beginning of a model's rows."""
    return "lapic" if model == "auto" else f"lapic --model {Path(model).stem}"


def ours(image: Image.Image, model: str, device: str) -> dict[str, Work]:
    """lapic's jobs for one picture, by the names of the rows."""
    data = lapic.encode(image, QUALITY, model=model, device=device)
    return {
        f"{label_of(model)} encode": lambda: lapic.encode(image, QUALITY, model=model, device=device),
        f"{label_of(model)} encode -e 0": lambda: lapic.encode(image, QUALITY, model=model, device=device, effort=0),
        f"{label_of(model)} decode": lambda: lapic.decode(data, device=device),
    }


def peak(options: argparse.Namespace, model: str) -> float:
    """GiB of a process that encodes and decodes the large picture."""
    return gib_of(PEAK, options.threads, options.picture, model, options.device, *options.large)


def gib_of(program: str, *arguments: object) -> float:
    """The bytes that a Python program prints, in GiB."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout) / 2**30


def jobs(options: argparse.Namespace, image: Image.Image, is_large: bool) -> dict[str, Work]:
    """All that is measured with a picture, by the names of the rows; mbt2018-mean wants much memory for a large one and
    is left out there."""
    found: dict[str, Work] = {}
    for model in options.models.split(","):
        found |= ours(image, model, options.device)
    if not is_large:
        found |= dict(
            zip(("mbt2018-mean compress", "mbt2018-mean decompress"), peer(image, options.device), strict=True)
        )
    for kind in ("JPEG", "WEBP", "AVIF", "JXL"):
        found |= dict(zip((f"{kind} encode", f"{kind} decode"), pillow(image, kind), strict=True))
    return found


def seconds(options: argparse.Namespace, image: Image.Image, is_large: bool) -> Times:
    """The medians for a picture, printed as they are found."""
    found = {}
    for name, work in jobs(options, image, is_large).items():
        found[name] = measure(work, options.rounds, torch.device(options.device)).median
        print(f"{image.width} x {image.height}  {name:40}{found[name]:9.3f} s", flush=True)
    return found


def table(options: argparse.Namespace, photo: Times, large: Times, memory: dict[str, float]) -> Table:
    """The table of results."""
    sizes = ["{} x {}".format(*size) for size in (options.small, options.large)]
    columns = [column("what"), *(column(size, ".3f", "s") for size in sizes), column("peak memory", ".2f", "GiB")]
    rows = [
        [name, *(rounded(one.get(name), 3) for one in (photo, large)), rounded(memory.get(name), 2)] for name in photo
    ]
    given = {name: getattr(options, name) for name in ("models", "threads", "rounds", "device")}
    given |= {name: "{}x{}".format(*getattr(options, name)) for name in ("small", "large")}
    flags = [Path(options.picture).name, *(word for name, value in given.items() for word in (f"--{name}", str(value)))]
    dtype = str(default_dtype(torch.device(options.device))).removeprefix("torch.")
    return {
        "name": "cpu",
        "caption": f"Medians of {options.rounds} rounds, {options.threads} threads. Peak memory is that of a process "
        "which encodes the large picture and decodes it.",
        "command": shlex.join(["python", "benchmarks/speed.py", *map(without_folders, flags)]),
        "machine": f"{cores()} cores, networks in {dtype}; torch {torch.__version__}",
        "date": date.today().isoformat(),
        "columns": columns,
        "rows": rows,
    }


def size_of(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--models", default="auto,fast", help="names and weights files, with commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", default="768x512", type=size_of)
    parser.add_argument("--large", default="3840x2160", type=size_of)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with Image.open(options.picture) as image:
        small, large = (image.convert("RGB").resize(size) for size in (options.small, options.large))
    photo = seconds(options, small, is_large=False)
    for name, time in photo.items():
        if name.startswith("lapic"):
            theirs = "mbt2018-mean decompress" if name.endswith("decode") else "mbt2018-mean compress"
            print(f"{name}: {photo[theirs] / time:.1f} times as fast as {theirs}")
    picture = seconds(options, large, is_large=True)
    memory = {f"{label_of(model)} encode": peak(options, model) for model in options.models.split(",")}
    for name, found in memory.items():
        print(f"peak memory, {options.large[0]}x{options.large[1]}, {name} and decode: {found:.2f} GiB")
    if options.results:
        head = {"lapic": lapic.__version__, "title": "Speed and memory on a CPU", "text": [], "notes": []}
        options.results.write_text(document(head, [table(options, photo, picture, memory)]))


if __name__ == "__main__":
    main()
