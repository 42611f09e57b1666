"""Where the time of a decode goes, stage by stage, beside the least that this machine could need.

    python benchmarks/stages.py PICTURE [--threads 2] [--rounds 15] [--quality 50] [--device cpu]

The floor of a stage is the larger of its multiplications at the speed of a large matrix product and of the bytes that
its inputs, weights and outputs take at the speed of a copy, both measured here in the networks' own precision (float32
for the exact networks, for they are). Entropy decoding and what is not a network has no floor by this measure.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lapic import bitstream
from lapic.bitstream import TileDecoder
from lapic.codec.decode import decoder
from lapic.codec.encode import encoder
from lapic.codec.exact import context, hyper
from lapic.codec.exact.products import product
from lapic.codec.model.codec_weights import Model, load

TIMES: dict[str, list[float]] = defaultdict(list)
WORK: dict[str, tuple[float, float]] = {}  # GMAC and MB of a stage


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def size_of(value: Any) -> float:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size() / 1e6
    return sum(map(size_of, value)) if isinstance(value, (list, tuple)) else 0.0


def watch_module(name: str, module: nn.Module, device: torch.device) -> None:
    """Time a module and count its work by hooks."""
    began: list[float] = []
    macs = [0.0]

    def count(part: nn.Conv2d, _: Any, output: Tensor) -> None:
        macs[0] += part.weight.numel() * output.shape[-1] * output.shape[-2] / 1e9

    def end(_: nn.Module, inputs: Any, output: Any) -> None:
        TIMES[name].append(clock(device) - began.pop())
        weights = sum(size_of(value) for value in module.parameters())
        WORK[name] = (macs[0], size_of(inputs) + size_of(output) + weights)
        macs[0] = 0.0

    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(count)
    module.register_forward_pre_hook(lambda *_: began.append(clock(device)))
    module.register_forward_hook(end)


def watch_function(name: str, owner: Any, attribute: str, device: torch.device, gmac: float = 0.0) -> None:
    """Time a function of a module or a method of a class."""
    work: Callable = getattr(owner, attribute)

    def timed(*arguments: Any, **named: Any) -> Any:
        began = clock(device)
        found = work(*arguments, **named)
        TIMES[name].append(clock(device) - began)
        if gmac:
            WORK[name] = (gmac, size_of(arguments) + size_of(found))
        return found

    setattr(owner, attribute, timed)


def fastest(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the fastest of some runs."""
    times = []
    for _ in range(8):
        began = clock(device)
        work()
        times.append(clock(device) - began)
    return min(times)


def speeds(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """GMAC/s of a matrix product and MB/s that a copy moves."""
    a = torch.randn(2048, 2048, device=device, dtype=dtype)
    block = torch.empty(64_000_000, dtype=torch.uint8, device=device)
    return 2048**3 / 1e9 / fastest(lambda: a @ a, device), 128 / fastest(lambda: block.clone(), device)


def exact_speed(device: torch.device) -> float:
    """GMAC/s of the exact networks' products (codec.exact.products), of bytes where the processor has them."""
    weight, x = torch.ones(768, 192, device=device), torch.ones(1, 192, 4096, device=device)
    return 768 * 192 * 4096 / 1e9 / fastest(lambda: product(weight, x), device)


def watch(model: Model, positions: int) -> None:
    """Put a clock on every stage of the decoder; `positions` at 1/16 for the exact networks' work."""
    synthesis, device = model.transforms.synthesis, model.device
    at = {"point0": 16, "depth0": 16, "point1": 16, "depth1": 4, "point2": 4}
    macs = {"hyper": 0.0, "context": 0.0}
    for name, tensor in model.integers.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight":
            part = "context" if "." in layer or layer == "point4" else "hyper"
            macs[part] += tensor.numel() * positions / at.get(layer, 1) / 1e9
    watch_function("entropy decoding", TileDecoder, "hyper", device)
    watch_function("entropy decoding", TileDecoder, "latent", device)
    watch_function("hyper-synthesis, exact", hyper, "hyper_synthesis", device, macs["hyper"])
    watch_function("context, with its entropy decoding", context, "code", device, macs["context"])
    for name, module in synthesis.named_children():
        if name != "quarter":
            watch_module(f"synthesis: {name}", module, device)
    if synthesis.quarter:
        watch_module("synthesis: stage at 1/4", synthesis.quarter, device)
    watch_function("collapse", decoder, "assemble", device)
    watch_function("to 8 bits", decoder, "to_pixels", device)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("picture")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load(device=arguments.device)
    pixels = np.asarray(Image.open(arguments.picture).convert("RGB"))
    header, tiles = bitstream.read(encoder.encode_pixels(model, pixels, arguments.quality, tile=0))
    floors = {dtype: speeds(model.device, dtype) for dtype in (model.dtype, torch.float32)}
    exact = exact_speed(model.device)
    watch(model, -(-header.width // 16) * -(-header.height // 16))
    whole, sums = [], defaultdict(list)
    for _ in range(arguments.rounds + 2):
        TIMES.clear()
        began = clock(model.device)
        decoder.decode_pixels(model, header, tiles)
        whole.append(clock(model.device) - began)
        for name, times in TIMES.items():
            sums[name].append(sum(times))
    print(f"{pixels.shape[0]} x {pixels.shape[1]}, quality {arguments.quality:g}, {model.device}, {model.dtype}, "
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
        print(f"{name:36} {1000 * statistics.median(seconds[2:]):7.2f} {gmac:7.2f} {moved:7.1f} {floor}")
    print(f"{'whole':36} {1000 * statistics.median(whole[2:]):7.2f}")


if __name__ == "__main__":
    main()
