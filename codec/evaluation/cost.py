"""Multiply-accumulates per pixel of lapic's networks.

Convolutions, linear paths, the integer hyper-synthesis, the context and a picture's own filter count; the pyramid's
additions and activations are left out, as is usual. Everything runs at a fixed resolution, so the figures hold for any
picture whose edges are multiples of 64.
"""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lapic.bitstream import Error
from lapic.codec.decode import picture_filter, realism
from lapic.codec.evaluation import own
from lapic.codec.evaluation.cache import Point
from lapic.codec.evaluation.curves import Curve, published
from lapic.codec.model.codec_weights import Model, load
from lapic.codec.nets import levels

SIZE = 256
PIXELS_PER_PLACE = {"point0": 64, "depth0": 64, "point1": 64, "depth1": 32, "point2": 32}  # the other layers: 16


def macs_by_part(net: nn.Module, *inputs: Any) -> dict[str, int]:
    """Multiply-accumulates of one forward pass by the network's direct parts, "" for all of it, by torch's counter."""
    with FlopCounterMode(display=False) as counter, torch.enable_grad():  # else strips are computed in other threads
        net(*inputs)
    found = {name: sum(count.values()) // 2 for name, count in counter.get_flop_counts().items()}

    def of(part: nn.Module, name: str) -> int:
        """Those of a part, or of its own parts if it is not called itself (`nets.strips.blocks_in_strips`)."""
        if name in found:
            return found[name]
        return sum(of(inner, f"{name}.{its_name}") for its_name, inner in part.named_children())

    parts = {name: of(part, f"{type(net).__name__}.{name}") for name, part in net.named_children()}
    return {"": counter.get_total_flops() // 2} | parts


def macs(net: nn.Module, *inputs: Any) -> float:
    """Thousands of multiply-accumulates per pixel of one forward pass on a picture of SIZE x SIZE."""
    return macs_by_part(net, *inputs)[""] / SIZE**2 / 1000


def exact_macs(integers: Mapping[str, Tensor]) -> dict[str, float]:
    """Multiply-accumulates per pixel of the exact layers, "hyper" and "context" (with the layer that makes means and
    scale indices), by the shapes of a model's integer tensors: how their products are computed differs by machine."""
    found = {"hyper": 0.0, "context": 0.0}
    for name, tensor in integers.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight":
            part = "context" if "." in layer or layer == "point4" else "hyper"
            found[part] += tensor.numel() / PIXELS_PER_PLACE.get(layer, 16) ** 2
    return found


def cost(model: Model) -> dict[str, float]:
    """kMAC/pixel of each network, by name, and of all that `encode` and `decode` run. The hyper-synthesis includes the
    context; what realism takes is not in `decode`, and what fitting a filter takes is not in `encode`."""
    nets = model.transforms
    latent = torch.zeros(1, model.config.latent, SIZE // 16, SIZE // 16, device=model.device)
    quality = levels.fixed_point(50, model.device)
    exact = sum(exact_macs(model.integers).values()) / 1000
    parts = {
        "analysis": macs(nets.analysis, torch.zeros(1, 3, SIZE, SIZE, device=model.device)),
        "hyper-analysis": macs(nets.hyper_analysis, latent),
        "hyper-synthesis": exact,
        "synthesis": macs(nets.synthesis, latent, quality),
    }
    try:
        finisher = realism.load(model)
        seen = SIZE // 8 // finisher.config.finer
        beside = torch.zeros(1, finisher.config.beside, seen, seen, device=model.device)
        picture = torch.zeros(1, 3, SIZE, SIZE, device=model.device)
        parts["realism"] = macs(finisher, picture, realism.modulation(quality, 1.0, model.config.levels), 1.0, beside)
    except Error:
        pass  # not every model has a realistic decoder
    if picture_filter.SCALE in model.integers:
        parts["filter"] = picture_filter.MACS / 1000
    encode = parts["analysis"] + parts["hyper-analysis"] + exact
    return parts | {"encode": encode, "decode": exact + parts["synthesis"] + parts.get("filter", 0)}


def add_costs(curves: list[Curve], points: list[Point]) -> None:
    """Fill in the decoder's kMAC/pixel. That of lapic is counted, as the mean over the qualities that were measured,
    which may have different models; that of zoo models is as published.

    Args:
        points: those that the curves are means of.
    """
    known = {curve.name: curve.decoder for curve in published()}
    counted: dict[str, dict[str, float]] = {}  # by the model
    for curve in curves:
        if curve.name.partition("@")[0] != "lapic":
            curve.decoder = known.get(curve.name)
            continue
        found = []
        for quality in {point["quality"] for point in points if point["codec"] == curve.name and "error" not in point}:
            model, how_real = own.decodes_with(curve.name, quality)
            if model not in counted:
                counted[model] = cost(load(model))
            found.append(counted[model]["decode"] + (counted[model].get("realism", 0.0) if how_real else 0.0))
        curve.decoder = fmean(found)
