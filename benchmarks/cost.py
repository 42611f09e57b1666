"""Parameters and multiply-accumulates per pixel of a model's parts.

python benchmarks/cost.py [--model photo]
"""

import argparse

from lapic.codec.evaluation.cost import cost
from lapic.codec.model.codec_weights import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="photo")
    model = load(parser.parse_args().model)
    nets = model.transforms
    parameters = {
        part: sum(p.numel() for p in net.parameters())
        for part, net in (
            ("analysis", nets.analysis),
            ("synthesis", nets.synthesis),
            ("hyper-analysis", nets.hyper_analysis),
        )
    }
    parameters["hyper-synthesis"] = sum(tensor.numel() for tensor in model.integers.values())
    print(f"{'part':16} {'parameters':>12} {'kMAC/pixel':>11}")
    for part, kmac in cost(model).items():
        count = f"{parameters[part]:,}" if part in parameters else ""
        print(f"{part:16} {count:>12} {kmac:>11.2f}")


if __name__ == "__main__":
    main()
