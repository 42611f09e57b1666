"""Megapixels a second of the pyramid translator beside LPTN with 3, 4 and 5 bands, in one process.

    python benchmarks/translate.py [--width 1920] [--height 1080] [--threads 2] [--rounds 5] [--device cpu]

From tensor to tensor, edges rounded up to multiples of 32, random weights (they take the same time), in float32 and in
what the device computes fastest: bfloat16 on some CPUs, float16 on GPUs. Medians, least and greatest.
"""

import argparse

import torch
from timing import measure

from lapic.codec.evaluation.cost import SIZE, macs
from lapic.codec.model.codec_weights import default_dtype
from lapic.codec.nets.lptn import LPTN
from lapic.codec.nets.translator import Translator, TranslatorConfig


@torch.inference_mode()
def main() -> None:
    """Measure and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    width, height = (-(-edge // 32) * 32 for edge in (options.width, options.height))
    picture = torch.rand(1, 3, height, width, device=device) * 2 - 1
    task = torch.zeros(1, dtype=torch.long)
    ours = Translator(TranslatorConfig(tasks=("any",))).eval()
    nets = {"lapic's translator": (ours, lambda x: ours(x, task.to(x.device)))}
    for bands in (3, 4, 5):
        net = LPTN(bands).eval()
        nets[f"LPTN, {bands} bands"] = (net, net)
    print(f"{width} x {height}\n")
    print("| network | kMAC/pixel | numbers | seconds | megapixels/s |\n|---|---|---|---|---|")
    for name, (net, run) in nets.items():
        inputs = (torch.zeros(1, 3, SIZE, SIZE), *((task,) if net is ours else ()))
        cost = macs(net, *inputs)
        net.to(device, memory_format=torch.channels_last)
        for dtype in dict.fromkeys([torch.float32, default_dtype(device)]):

            def work(run: object = run, dtype: torch.dtype = dtype) -> None:
                with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                    run(picture)

            timing = measure(work, options.rounds, device)
            number = str(dtype).removeprefix("torch.")
            speed = width * height / timing.median / 1e6
            print(
                f"| {name} | {cost:.1f} | {number} | {timing.median:.3f} ({timing.least:.3f} to {timing.greatest:.3f}) "
                f"| {speed:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
