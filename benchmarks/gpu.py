"""Encode and decode milliseconds on a GPU by tile size, from pixels in memory to the bytes of a file and back, beside
those of the networks alone and of decodes in real time, to a tensor on the GPU.

    python benchmarks/gpu.py PICTURE [--qualities 25,50] [--rounds 7]
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from stages import clock

import bitstream
from codec import AUTO_MODEL, DEFAULT_EFFORT, decoder, encoder, hyper
from codec.model import Model, load_for
from codec.network import assemble
from codec.realtime import RealtimeDecoder, RealtimeEncoder
from codec.tiling import LATENT

CUDA = torch.device("cuda")
STREAMED = 50  # decodes of one file in a row


def milliseconds(work: Callable[[], object], rounds: int) -> str:
    """Median, least and greatest milliseconds of some runs, after one that does not count."""
    work()
    times = []
    for _ in range(rounds):
        began = clock(CUDA)
        work()
        times.append(1e3 * (clock(CUDA) - began))
    return f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f}) ms"


@torch.inference_mode()
def networks(model: Model, quality: float, height: int, width: int, rounds: int) -> str:
    """Milliseconds from latents to pixels."""
    latent = torch.randn(1, model.config.latent, -(-height // LATENT), -(-width // LATENT), device=CUDA)
    latent = latent.contiguous(memory_format=torch.channels_last)
    fixed = hyper.fixed_point(quality, CUDA)
    return milliseconds(lambda: assemble(*model.transforms.synthesis(latent, fixed)), rounds)


def measure(pixels: NDArray[np.uint8], quality: float, tile: int, rounds: int) -> None:
    """Print what one tile size takes at one quality."""
    model = load_for(AUTO_MODEL, quality, CUDA.type)
    encode = partial(encoder.encode_pixels, model, pixels, quality, tile=tile)
    data = encode()
    file = bitstream.read(data)
    bpp = 8 * len(data) / pixels[..., 0].size
    decoding = milliseconds(lambda: decoder.decode_pixels(model, *file), rounds)
    print(
        f"tiles of {tile or 'any size'}, {bpp:.3f} bpp: decode {decoding}, encode -e 0 {milliseconds(encode, rounds)}"
    )


def real_time(model: Model, pixels: NDArray[np.uint8], quality: float, rounds: int) -> str:
    """Milliseconds from bytes to a tensor, one picture at a time and in a stream, of a file with lanes, and from a
    tensor to bytes; how many bytes lanes cost, and how far the pixels are from those of other ways."""
    one, data = (encoder.encode_pixels(model, pixels, quality, tile=0, lanes=wanted) for wanted in (False, True))
    decode = RealtimeDecoder(model, *pixels.shape[1::-1])
    alone = milliseconds(lambda: decode(data), rounds)
    began = clock(CUDA)
    count = sum(1 for _ in decode.stream([data] * STREAMED))
    streamed = 1e3 * (clock(CUDA) - began) / count
    other = decoder.decode_pixels(model, *bitstream.read(data)).astype(int)
    apart = np.abs(decode(data).cpu().numpy() - other).max()
    encode, shown = RealtimeEncoder(model, *pixels.shape[1::-1], quality), torch.tensor(pixels, device=CUDA)
    assert decode(encode(shown)).shape == pixels.shape
    encoding = milliseconds(lambda: encode(shown), rounds)
    times = f"decode {alone}, in a stream {streamed:.1f} ms; encode {encoding}"
    return f"{times}; lanes cost {len(data) / len(one) - 1:.2%}; {apart} levels apart"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--qualities", default="25,50")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    pixels, rounds = np.asarray(Image.open(arguments.picture).convert("RGB")), arguments.rounds
    print(f"{torch.cuda.get_device_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for quality in map(float, arguments.qualities.split(",")):
        model = load_for(AUTO_MODEL, quality, CUDA.type)
        alone = networks(model, quality, *pixels.shape[:2], rounds)
        print(f"quality {quality:g}, the synthesis and collapse alone: {alone}")
        print("in real time, one tile:", real_time(model, pixels, quality, rounds))
        for tile in (256, 512, 1024, 0):
            measure(pixels, quality, tile, rounds)
        search = partial(encoder.encode_pixels, model, pixels, quality, effort=DEFAULT_EFFORT)
        print("encode", milliseconds(search, rounds), flush=True)


if __name__ == "__main__":
    main()
