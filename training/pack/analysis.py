"""The graphs from pixels to latents, for encoding without a search."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from lapic.codec.exact.hyper import HYPER_LATENT_MAX
from lapic.training.pack.graph import FLOAT, Graph

Weights = Mapping[str, NDArray[Any]]


def analysis_graph(weights: Weights) -> bytes:
    """A picture -> y (codec.nets.network.Analysis)."""
    latent = len(weights["linear.weight"])
    linear = weights["linear.weight"].reshape(latent, 3, 8, 8, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    graph = Graph("analysis", weights)
    picture = graph.input("picture", [1, 3, "H", "W"])
    x = graph.cells(picture, "enter", 8)
    if "quarter.enter.weight" in weights:
        quarter = graph.blocks(graph.cells(picture, "quarter.enter", 4), "quarter.blocks")
        x = graph.apply("Add", x, graph.cells(quarter, "quarter.down", 2))
    x = graph.blocks(graph.cells(graph.blocks(x, "fine"), "down", 2), "coarse")
    blocks = graph.weight(linear.reshape(latent, 3, 16, 16))
    y = graph.apply("Add", graph.conv(picture, blocks, None, 16, strides=[16, 16]), graph.point(x, "leave"))
    return graph.model({"y": (y, [1, latent, "h", "w"], FLOAT)})


def hyper_analysis_graph(weights: Weights) -> bytes:
    """Gained latents -> z, rounded (codec.nets.network.HyperAnalysis)."""
    graph = Graph("hyper-analysis", weights)
    latent, hyper = weights["enter.weight"].shape[1], len(weights["leave.weight"])
    x = graph.apply("Asinh", graph.input("gained", [1, latent, "h", "w"]))
    x = graph.silu(graph.filter(graph.silu(graph.point(x, "enter")), "filter"))
    x = graph.silu(graph.filter(graph.silu(graph.cells(x, "second", 2)), "second_filter"))
    z = graph.apply("Round", graph.cells(x, "leave", 2))
    z = graph.clip(z, -HYPER_LATENT_MAX, HYPER_LATENT_MAX)
    return graph.model({"z": (z, [1, hyper, "h4", "w4"], FLOAT)})
