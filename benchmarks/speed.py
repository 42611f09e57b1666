"""Encode and decode seconds beside CompressAI's mbt2018-mean and Pillow's codecs, in one process; peak memory at 4K.

    python benchmarks/speed.py PICTURE [--threads 2] [--rounds 5] [--device cpu] [--large 3840x2160]

`compress` and `decompress` with entropy coding on both sides, from a picture in memory to bytes and back; medians.
mbt2018-mean has untrained weights (quality 3), which take the same time to transform.
"""

import argparse
import io
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pillow_jxl  # noqa: F401, lets Pillow write JPEG XL
import torch
from PIL import Image
from timing import Timing, measure

import lapic
from lapic.codec.compat import import_compressai


def peer(image: Image.Image, device: str = "cpu") -> tuple[Callable[[], object], Callable[[], object]]:
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


def pillow(image: Image.Image, kind: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Pillow's JPEG, WebP or AVIF at its default quality as an encode and a decode function for one picture."""

    def encode() -> bytes:
        out = io.BytesIO()
        image.save(out, kind)
        return out.getvalue()

    data = encode()
    return encode, lambda: Image.open(io.BytesIO(data)).load()


MEMORY = """
import sys, torch
from PIL import Image
import lapic
from lapic.codec.evaluation.peak import PeakMemory
threads, picture, device, width, height, job = sys.argv[1:]
torch.set_num_threads(int(threads))
with PeakMemory() as memory:
    if job == "encode":
        lapic.encode(Image.open(picture).convert("RGB").resize((int(width), int(height))), 50, device=device)
    else:
        lapic.decode(sys.stdin.buffer.read(), device=device)
print(memory.peak)
"""


def row(name: str, timing: Timing) -> str:
    """A row of the table."""
    return f"{name:24}{timing.median:10.3f}{timing.least:10.3f}{timing.greatest:10.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--large", default="3840x2160", help="size of the large picture")
    arguments = parser.parse_args()
    size = tuple(map(int, arguments.large.split("x")))
    torch.set_num_threads(arguments.threads)
    image = Image.open(arguments.picture).convert("RGB")
    data = lapic.encode(image, 50, device=arguments.device)
    print(f"{image.width} x {image.height}, {arguments.threads} threads, torch {torch.__version__}, {arguments.device}")
    print(f"{'':24}{'median s':>10}{'min':>10}{'max':>10}")
    rows = {}
    encode, decode = peer(image)
    for name, work in (
        ("lapic encode", lambda: lapic.encode(image, 50, device=arguments.device)),
        ("lapic encode -e 0", lambda: lapic.encode(image, 50, device=arguments.device, effort=0)),
        ("lapic decode", lambda: lapic.decode(data, device=arguments.device)),
        ("mbt2018-mean compress", encode),
        ("mbt2018-mean decompress", decode),
        *(
            (f"{kind} {what}", work)
            for kind in ("JPEG", "WEBP", "AVIF", "JXL")
            for what, work in zip(("encode", "decode"), pillow(image, kind), strict=True)
        ),
    ):
        rows[name] = measure(work, arguments.rounds)
        print(row(name, rows[name]))
    for ours, theirs in (("encode", "compress"), ("encode -e 0", "compress"), ("decode", "decompress")):
        ratio = rows[f"mbt2018-mean {theirs}"].median / rows[f"lapic {ours}"].median
        print(f"{ours} {ratio:.1f} times as fast as mbt2018-mean")
    large = image.resize(size)
    large_data = lapic.encode(large, 50, device=arguments.device)
    for name, work in (
        ("lapic encode, large", lambda: lapic.encode(large, 50, device=arguments.device)),
        ("lapic encode -e 0, large", lambda: lapic.encode(large, 50, device=arguments.device, effort=0)),
        ("lapic decode, large", lambda: lapic.decode(large_data, device=arguments.device)),
    ):
        print(row(name, measure(work, arguments.rounds)))
    for job in ("encode", "decode"):
        settings = map(str, (arguments.threads, arguments.picture, arguments.device, *size, job))
        command = [sys.executable, "-c", MEMORY, *settings]
        peak = int(subprocess.run(command, input=large_data, capture_output=True, check=True).stdout)
        print(f"peak memory, {arguments.large} {job}: {peak / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
