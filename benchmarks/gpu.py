"""Encode and decode milliseconds on a GPU by tile size, from pixels in memory to the bytes of a file and back, beside
those of the networks alone.

    python benchmarks/gpu.py PICTURE [--qualities 25,50] [--rounds 7]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

import bitstream
from codec import DEFAULT_EFFORT, decoder, encoder, hyper
from codec.model import load_for
from codec.network import assemble
from codec.tiling import LATENT


def milliseconds(work: Callable[[], object], rounds: int) -> str:
    """Median, least and greatest milliseconds of some runs, after one that does not count."""
    work()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - began))
    return f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})"


@torch.inference_mode()
def networks(quality: float, height: int, width: int, rounds: int) -> str:
    """Milliseconds from latents to pixels."""
    model = load_for("auto", quality, "cuda")
    latent = torch.randn(1, model.config.latent, -(-height // LATENT), -(-width // LATENT), device="cuda")
    latent = latent.contiguous(memory_format=torch.channels_last)
    fixed = hyper.fixed_point(quality, model.device)
    return milliseconds(lambda: assemble(*model.transforms.synthesis(latent, fixed)), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--qualities", default="25,50")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    pixels, rounds = np.asarray(Image.open(arguments.picture).convert("RGB")), arguments.rounds
    print(f"{torch.cuda.get_device_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for quality in map(float, arguments.qualities.split(",")):
        model = load_for("auto", quality, "cuda")

        def encode(tile: int, effort: int = 0, model=model, quality=quality) -> bytes:
            return encoder.encode_pixels(model, pixels, quality, tile=tile, effort=effort)

        print(
            f"quality {quality:g}, the synthesis and collapse alone: {networks(quality, *pixels.shape[:2], rounds)} ms"
        )
        for tile in (256, 512, 1024, 0):
            data = encode(tile)
            file = bitstream.read(data)
            print(f"tiles of {tile or 'any size'}, {8 * len(data) / pixels[..., 0].size:.3f} bpp: decode ", end="")
            print(milliseconds(lambda model=model, file=file: decoder.decode_pixels(model, *file), rounds), end=" ms, ")
            print("encode -e 0", milliseconds(lambda encode=encode, tile=tile: encode(tile), rounds), "ms", flush=True)
        print("encode", milliseconds(lambda encode=encode: encode(1024, DEFAULT_EFFORT), rounds), "ms")


if __name__ == "__main__":
    main()
