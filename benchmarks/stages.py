"""Where the time of a decode goes, stage by stage, beside the least that this machine could need.

    python benchmarks/stages.py PICTURE [--model eye] [--threads 2] [--rounds 15] [--quality 50] [--device cpu]

The floor of a stage is the larger of its multiplications at the speed of a large matrix product and of the bytes that
its inputs, weights and outputs take at the speed of a copy, both measured here in the networks' own precision (float32
for the exact networks, for they are). Entropy decoding and what is not a network has no floor by this measure.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from timing import Timing, clock, measure, stopwatch
from torch import Tensor, nn

from lapic import bitstream
from lapic.bitstream import TileDecoder
from lapic.codec.decode import decoder
from lapic.codec.defaults import DEFAULT_MODEL
from lapic.codec.encode import encoder
from lapic.codec.evaluation.cost import exact_macs, macs_by_part
from lapic.codec.exact import hyper
from lapic.codec.exact.products import product
from lapic.codec.model import latents
from lapic.codec.model.codec_weights import Model, load
from lapic.codec.nets import levels, network

TIMES: dict[str, list[float]] = defaultdict(list)
WORK: dict[str, tuple[float, float]] = {}  # GMAC and MB of a stage


def size_of(value: Any) -> float:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size() / 1e6
    return sum(map(size_of, value)) if isinstance(value, (list, tuple)) else 0.0


def watch_module(stack: ExitStack, name: str, module: nn.Module, device: torch.device, gmac: float) -> None:
    """Time a module, until the stack is closed."""
    began: list[float] = []

    def end(_: nn.Module, inputs: Any, output: Any) -> None:
        TIMES[name].append(clock(device) - began.pop())
        weights = sum(size_of(value) for value in module.parameters())
        WORK[name] = (gmac, size_of(inputs) + size_of(output) + weights)

    for hook in (
        module.register_forward_pre_hook(lambda *_: began.append(clock(device))),
        module.register_forward_hook(end),
    ):
        stack.callback(hook.remove)


def watch_function(
    stack: ExitStack, name: str, owner: Any, attribute: str, device: torch.device, gmac: float = 0.0
) -> None:
    """Time a function of a module or a method of a class, until the stack is closed."""
    work: Callable = getattr(owner, attribute)

    def timed(*arguments: Any, **named: Any) -> Any:
        with stopwatch(TIMES[name], device):
            found = work(*arguments, **named)
        if gmac:
            WORK[name] = (gmac, size_of(arguments) + size_of(found))
        return found

    stack.enter_context(mock.patch.object(owner, attribute, timed))


def watch_strips(
    stack: ExitStack, attribute: str, layers: dict[nn.Module, tuple[str, float]], device: torch.device
) -> None:
    """Time the layers that one of `nets.strips`' functions computes, by their names and GMAC, until the stack is
    closed."""
    work: Callable = getattr(network, attribute)

    def timed(layer: Any, x: Tensor, **settings: Any) -> Tensor:
        if layer not in layers:
            return work(layer, x, **settings)
        name, gmac = layers[layer]
        with stopwatch(TIMES[name], device):
            found = work(layer, x, **settings)
        WORK[name] = gmac, size_of(x) + size_of(found) + sum(size_of(value) for value in layer.parameters())
        return found

    stack.enter_context(mock.patch.object(network, attribute, timed))


def speeds(device: torch.device, dtype: torch.dtype, rounds: int) -> tuple[float, float]:
    """GMAC/s of a matrix product and MB/s that a copy moves, the fastest of some rounds."""
    a = torch.randn(2048, 2048, device=device, dtype=dtype)
    block = torch.empty(64_000_000, dtype=torch.uint8, device=device)
    product_seconds, copy_seconds = (
        measure(work, rounds, device).least for work in (lambda: a @ a, lambda: block.clone())
    )
    return 2048**3 / 1e9 / product_seconds, 128 / copy_seconds


def exact_speed(device: torch.device, rounds: int) -> float:
    """GMAC/s of the exact networks' products (codec.exact.products), of bytes where the processor has them."""
    weight, x = torch.ones(768, 192, device=device), torch.ones(1, 192, 4096, device=device)
    return 768 * 192 * 4096 / 1e9 / measure(lambda: product(weight, x), rounds, device).least


def watch(stack: ExitStack, model: Model, rows: int, columns: int) -> None:
    """Put a clock on every stage of the decoder, of a picture of rows x columns latents, until the stack is closed."""
    synthesis, device = model.transforms.synthesis, model.device
    latent = torch.zeros(1, model.config.latent, rows, columns, device=device)
    macs = macs_by_part(synthesis, latent, levels.fixed_point(50, device))
    exact = {part: 16**2 * rows * columns * count / 1e9 for part, count in exact_macs(model.integers).items()}
    watch_function(stack, "entropy decoding", TileDecoder, "hyper", device)
    watch_function(stack, "entropy decoding", TileDecoder, "latent", device)
    watch_function(stack, "hyper-synthesis, exact", hyper, "hyper_synthesis", device, exact["hyper"])
    watch_function(stack, "context, with its entropy decoding", latents, "run_passes", device, exact["context"])
    layers = {}
    for part, module in synthesis.named_children():
        name = "synthesis: stage at 1/4" if part == "quarter" else f"synthesis: {part}"
        if isinstance(module, (nn.Conv2d, nn.Sequential)) and model.config.generation == 1:
            layers[module] = name, macs[part] / 1e9
        else:
            watch_module(stack, name, module, device, macs[part] / 1e9)
    watch_strips(stack, "in_strips", layers, device)
    watch_strips(stack, "blocks_in_strips", layers, device)
    watch_function(stack, "collapse", network, "assemble", device)
    watch_function(stack, "to 8 bits", decoder, "to_pixels", device)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name or a weights file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load(arguments.model, device=arguments.device)
    pixels = np.asarray(Image.open(arguments.picture).convert("RGB"))
    header, tiles = bitstream.read(encoder.encode_pixels(model, pixels, arguments.quality, tile=0))
    floors = {dtype: speeds(model.device, dtype, arguments.rounds) for dtype in (model.dtype, torch.float32)}
    exact = exact_speed(model.device, arguments.rounds)
    whole: list[float] = []
    sums: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        watch(stack, model, -(-header.height // 16), -(-header.width // 16))
        for _ in range(arguments.rounds + 2):
            TIMES.clear()
            with stopwatch(whole, model.device):
                decoder.decode_pixels(model, header, tiles)
            for name, times in TIMES.items():
                sums[name].append(sum(times))
    print(f"{pixels.shape[1]} x {pixels.shape[0]}, quality {arguments.quality:g}, {model.device}, {model.dtype}, "
          f"{arguments.threads} threads")  # fmt: skip
    for dtype, (rate, bandwidth) in floors.items():
        print(f"{dtype}: {rate:.0f} GMAC/s, {bandwidth / 1000:.1f} GB/s")
    print(f"exact products: {exact:.0f} GMAC/s")
    print(f"{'stage':36} {'ms':>7} {'GMAC':>7} {'MB':>7} {'floor ms':>9}")
    for name, seconds in sums.items():
        gmac, moved = WORK.get(name, (0.0, 0.0))
        rate, bandwidth = floors[torch.float32 if "linear" in name else model.dtype]
        rate = exact if "exact" in name or "context" in name else rate
        floor = f"{1000 * max(gmac / rate, moved / bandwidth):9.2f}" if gmac else ""
        print(f"{name:36} {1000 * Timing.of(seconds[2:]).median:7.2f} {gmac:7.2f} {moved:7.1f} {floor}")
    print(f"{'whole':36} {1000 * Timing.of(whole[2:]).median:7.2f}")


if __name__ == "__main__":
    main()
