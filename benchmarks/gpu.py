"""Encode and decode milliseconds on a GPU: in real time, to and from a tensor on the GPU, stage by stage; by tile size,
to and from an array on the host; and of CompressAI's mbt2018-mean.

    python benchmarks/gpu.py PICTURE [--qualities 25,50] [--rounds 15]
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from speed import peer
from timing import Timing, clock, measure

from lapic import bitstream
from lapic.codec.decode import decoder
from lapic.codec.defaults import AUTO_MODEL, DEFAULT_EFFORT
from lapic.codec.encode import encoder
from lapic.codec.exact import context
from lapic.codec.gpu.crc import symbols_crc
from lapic.codec.gpu.entropy_decode import LaneDecoder, decode_packed, latent_order
from lapic.codec.gpu.graph import capture_graph
from lapic.codec.gpu.tables import tables_of
from lapic.codec.model import latents
from lapic.codec.model.codec_weights import Model, load_for
from lapic.codec.realtime import RealtimeDecoder, RealtimeEncoder

CUDA = torch.device("cuda")
STREAMED = 200  # decodes of one file in a row


def milliseconds(work: Callable[[], object], rounds: int) -> str:
    """Median, least and greatest milliseconds of some runs, after one that does not count."""
    return measure(work, rounds, CUDA).milliseconds()


def replayed(work: Callable[[], object], rounds: int = 15) -> float:
    """Median milliseconds of work that is captured as a CUDA graph, by the GPU's own clock: no start from the host is
    in them."""
    run = capture_graph(work, CUDA)
    times = []
    for _ in range(rounds):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        run()
        after.record()
        after.synchronize()
        times.append(before.elapsed_time(after))
    return Timing.of(times).median


@torch.inference_mode()
def stages(decode: RealtimeDecoder) -> None:
    """Print what each stage of the last decode takes by itself."""
    model, packed = decode.model, decode.packed
    height, width = -(-decode.height // 16), -(-decode.width // 16)
    places = -(-height // 4), -(-width // 4)
    quality, tables = packed.quality.long(), tables_of(model)
    z, coded, _ = decode_packed(model, packed, (height, width))
    parts = context.passes(context.low_channels(model.integers), (model.config.latent, height, width), CUDA)
    symbols = [coded.symbol[:, part.channels] for part in parts]

    def orders() -> list:
        return [latent_order(part, coded.index[0, part.channels], packed.first_index) for part in parts]

    sorted_ = orders()

    def entropy() -> object:
        lane_decoder = LaneDecoder(tables, packed)
        return lane_decoder.hyper(*places), [lane_decoder.decode(*order) for order in sorted_]

    def networks() -> object:
        known = iter(symbols)
        return latents.code_latents(model, z[None].float(), quality, (height, width), lambda *_: next(known))

    def shown() -> torch.Tensor:
        latent = latents.shown_latents(model, coded) / model.transforms.gain(quality)
        return latent.contiguous(memory_format=torch.channels_last)

    latent, size = shown(), (decode.height, decode.width)
    print("| stage | ms |\n|---|---|")
    for name, work in {
        "entropy decoding, all lanes": entropy,
        "order of the symbols": orders,
        "hyper-synthesis and context, exact": networks,
        "checksum": partial(symbols_crc, z, coded.symbol[0]),
        "latents": shown,
        "synthesis and pyramid": partial(decode.fused, latent, quality, 3, size),
        "whole": partial(decode.decode_packed, filtered=False, channels=3),
    }.items():
        print(f"| {name} | {replayed(work):.2f} |")


def real_time(model: Model, pixels: NDArray[np.uint8], quality: float, rounds: int) -> None:
    """Print milliseconds from bytes to a tensor, one picture at a time and in a stream, of a file with lanes, and from
    a tensor to bytes; how many bytes lanes cost, and how far the pixels are from those of other ways."""
    encode_pixels = partial(encoder.encode_pixels, model, pixels, quality, tile=0)
    one, data = (encode_pixels(lanes=wanted) for wanted in (False, True))
    decode = RealtimeDecoder(model, *pixels.shape[1::-1])
    alone = milliseconds(lambda: decode(data), rounds)
    began = clock(CUDA)
    count = sum(1 for _ in decode.stream([data] * STREAMED))
    streamed = 1e3 * (clock(CUDA) - began) / count
    apart = np.abs(decode(data).cpu().numpy().astype(int) - decoder.decode_pixels(model, *bitstream.read(data))).max()
    encode, shown = RealtimeEncoder(model, *pixels.shape[1::-1], quality), torch.tensor(pixels, device=CUDA)
    assert encode(shown) == data
    print(f"{8 * len(data) / pixels[..., 0].size:.3f} bpp, lanes cost {len(data) / len(one) - 1:.2%}")
    encoding = milliseconds(lambda: encode(shown), rounds)
    print(f"real time: decode {alone}, in a stream {streamed:.1f} ms; encode {encoding}")
    print(f"{apart} levels apart from another decode on the GPU")
    stages(decode)
    searched = encode_pixels(lanes=True, effort=DEFAULT_EFFORT)
    print(f"a file of the default effort: decode {milliseconds(lambda: decode(searched), rounds)}")
    print(
        f"encode with the default effort {milliseconds(partial(encode_pixels, effort=DEFAULT_EFFORT), 3)}", flush=True
    )


def tiles(model: Model, pixels: NDArray[np.uint8], quality: float, tile: int, rounds: int) -> None:
    """Print what one tile size takes at one quality, from and to an array on the host."""
    for lanes in (False, True):
        encode = partial(encoder.encode_pixels, model, pixels, quality, tile=tile, lanes=lanes)
        file = bitstream.read(encode())
        decoding = milliseconds(lambda file=file: decoder.decode_pixels(model, *file), rounds)
        name = f"tiles of {tile or 'any size'}, {'lanes' if lanes else 'no lanes'}"
        print(f"{name}: decode {decoding}, encode -e 0 {milliseconds(encode, rounds)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--qualities", default="25,50")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    pixels, rounds = np.asarray(Image.open(arguments.picture).convert("RGB")), arguments.rounds
    print(f"{torch.cuda.get_device_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for quality in map(float, arguments.qualities.split(",")):
        print(f"\nquality {quality:g}, ", end="")
        model = load_for(AUTO_MODEL, quality, CUDA.type)
        real_time(model, pixels, quality, rounds)
        for tile in (1024, 0):
            tiles(model, pixels, quality, tile, 3)
    encode, decode = peer(Image.fromarray(pixels), CUDA.type)
    print(f"mbt2018-mean: decompress {milliseconds(decode, 3)}, compress {milliseconds(encode, 3)}")


if __name__ == "__main__":
    main()
