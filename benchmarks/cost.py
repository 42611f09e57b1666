"""Parameters and multiply-accumulates per pixel of a model's parts.

    python benchmarks/cost.py [--model photo]

Counts convolutions, linear paths and the integer hyper-synthesis; the pyramid's additions and activations are left out,
as is usual. Everything runs at a fixed resolution, so the figures hold for any picture whose edges are multiples of 64.
"""

import argparse

import torch
from torch import nn

from codec import hyper
from codec.model import load

SIZE = 256


def macs(part: nn.Module, *inputs: torch.Tensor) -> float:
    """Multiply-accumulates of one forward pass through a part, by hooks on its convolutions."""
    total = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += module.weight.numel() * output.shape[-1] * output.shape[-2]

    hooks = [m.register_forward_hook(count) for m in part.modules() if isinstance(m, nn.Conv2d)]
    with torch.inference_mode():
        part(*inputs)
    for hook in hooks:
        hook.remove()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="photo")
    model = load(parser.parse_args().model, dtype=torch.float32)
    nets, config = model.transforms, model.config
    picture = torch.zeros(1, 3, SIZE, SIZE)
    latent = torch.zeros(1, config.latent, SIZE // 16, SIZE // 16)
    quality = torch.tensor([50 * hyper.QUALITY_ONE])
    per_place = {"point0": 64, "depth0": 64, "point1": 64, "depth1": 32, "point2": 32}  # the others work at 1/16
    integers = {
        name.removesuffix(".weight"): tensor.numel() / per_place.get(name.removesuffix(".weight"), 16) ** 2
        for name, tensor in model.integers.items()
        if name.endswith(".weight")
    }
    rows = [
        ("analysis", nets.analysis, macs(nets.analysis, picture) / SIZE**2),
        ("hyper-analysis", nets.hyper_analysis, macs(nets.hyper_analysis, latent) / SIZE**2),
        ("hyper-synthesis (exact)", None, sum(integers.values())),
        ("synthesis", nets.synthesis, macs(nets.synthesis, latent, quality) / SIZE**2),
    ]
    print(f"{'part':26}{'parameters':>12}{'kMAC/pixel':>12}")
    for name, part, cost in rows:
        tensors = part.parameters() if part else model.integers.values()
        print(f"{name:26}{sum(tensor.numel() for tensor in tensors):>12,}{cost / 1000:>12.2f}")
    cost = {name: value for name, _, value in rows}
    print(f"encode {(sum(cost.values()) - cost['synthesis']) / 1000:.1f} kMAC/pixel")
    print(f"decode {(cost['hyper-synthesis (exact)'] + cost['synthesis']) / 1000:.1f} kMAC/pixel")


if __name__ == "__main__":
    main()
