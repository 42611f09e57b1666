"""The graphs of the second generation's analysis and synthesis (lapic.codec.nets.second).

The renderer's cells lie here as pixels at 1/4 of the size: a shuffle by 4 of channels grouped by cells makes them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapic.codec.nets.second import CELL, CELLS, COLOURS
from lapic.training.pack.graph import FLOAT, Graph
from lapic.training.pack.pictures import PictureGraph

Weights = Mapping[str, NDArray[Any]]
PIXELS = CELLS * COLOURS  # values of a latent's pixels


def as_kernel(weight: NDArray[Any], edge: int) -> NDArray[Any]:
    """The weights (D, edge^2 48, 1, 1) of a layer of pixels grouped by cells, as a kernel (D, 3, 4 edge, 4 edge)."""
    grouped = weight.reshape(len(weight), edge, edge, CELL, CELL, 3).transpose(0, 5, 1, 3, 2, 4)
    return grouped.reshape(len(weight), 3, edge * CELL, edge * CELL)


def blocks(graph: Graph, x: str, name: str) -> str:
    """The residual blocks `name.0`, `name.1`, ..."""
    number = 0
    while f"{name}.{number}.widen.weight" in graph.weights:
        x = block(graph, x, f"{name}.{number}")
        number += 1
    return x


def block(graph: Graph, x: str, name: str) -> str:
    """The residual block `name` (lapic.codec.nets.second.Block)."""
    inner = graph.silu(graph.point(graph.filter(x, f"{name}.filter"), f"{name}.widen"))
    return graph.apply("Add", x, graph.point(inner, f"{name}.narrow"))


def analysis_graph(weights: Weights) -> bytes:
    """A picture -> y."""
    down = weights["down.weight"]
    down = down.reshape(len(down), 2, 2, -1).transpose(0, 3, 1, 2)
    graph = Graph("analysis", weights)
    picture = graph.input("picture", [1, 3, "H", "W"])
    enter = graph.weight(as_kernel(weights["enter.weight"], 2))
    x = graph.conv(picture, enter, graph.weight(weights["enter.bias"]), 8, strides=[8, 8])
    x = graph.conv(blocks(graph, x, "fine"), graph.weight(down), graph.weight(weights["down.bias"]), 2, strides=[2, 2])
    x = graph.point(blocks(graph, x, "coarse"), "leave")
    linear = graph.conv(picture, graph.weight(as_kernel(weights["linear.weight"], 4)), None, 16, strides=[16, 16])
    y = graph.apply("Add", linear, x)
    return graph.model({"y": (y, [1, len(weights["linear.weight"]), "h", "w"], FLOAT)})


def features_graph(weights: Weights) -> bytes:
    """y -> the linear picture grouped by the pixels of each latent, and the body's features."""
    graph = Graph("features", weights)
    coarse, latent = weights["enter.weight"].shape[:2]
    y = graph.input("y", [1, latent, "h", "w"])
    x = graph.point(y, "enter")
    for number, row in enumerate(("enter_level", "up_level")):
        level = graph.rows(row, 2 * coarse)
        x = block(graph, graph.modulate(x, level, coarse), f"body.{number}")
    base = graph.point(y, "linear")
    return graph.model({"base": (base, [1, PIXELS, "h", "w"], FLOAT), "features": (x, [1, coarse, "h", "w"], FLOAT)})


def _cells(graph: Graph, x: str) -> str:
    """Channels grouped by cells as pixels, (1, 16 C, h, w) -> (1, C, 4h, 4w)."""
    return graph.apply("DepthToSpace", x, blocksize=CELL, mode="DCR")


def _rendered(graph: PictureGraph) -> str:
    """The picture at full size, of the inputs that it declares: what `features_graph` gives."""
    coarse = graph.weights["up.weight"].shape[1]
    linear = _cells(graph, graph.input("base", [1, PIXELS, "h", "w"]))  # (1, 48, 4h, 4w)
    features = graph.input("features", [1, coarse, "h", "w"])
    width = len(graph.weights["see.weight"])
    count = len(graph.weights["condition.weight"]) // width
    conditions = graph.split(graph.point(features, "condition"), [width] * count)
    x = graph.apply("Add", _cells(graph, graph.point(features, "up")), graph.point(linear, "see"))
    for number in range(count // 3):
        scale, shift, gate = conditions[3 * number : 3 * number + 3]
        scale, gate = (graph.apply("Add", graph.apply("Tanh", one), graph.number(1)) for one in (scale, gate))
        scale, shift, gate = (_of_cells(graph, one) for one in (scale, shift, gate))
        inner = graph.apply("Add", graph.apply("Mul", x, scale), shift)
        inner = graph.point(graph.silu(graph.point(inner, f"pairs.{number}.widen")), f"pairs.{number}.narrow")
        x = graph.apply("Add", x, graph.apply("Mul", inner, gate))
    return _cells(graph, graph.apply("Add", linear, graph.point(x, "leave")))


def _of_cells(graph: Graph, x: str) -> str:
    """The values of each latent for all its cells, (1, C, h, w) -> (1, C, 4h, 4w)."""
    scales = graph.constant(np.array([1, 1, CELL, CELL], np.float32))
    settings = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.apply("Resize", x, "", scales, **settings)


def whole_graph(weights: Weights) -> bytes:
    """What `features_graph` gives -> the picture at full size."""
    graph = PictureGraph("synthesis", weights)
    return graph.model({"picture": (_rendered(graph), [1, 3, "H", "W"], FLOAT)})


def eighth_graph(weights: Weights) -> bytes:
    """What `features_graph` gives -> the picture at 1/8."""
    graph = PictureGraph("synthesis-8", weights)
    picture = _rendered(graph)
    for _ in range(3):
        picture = graph.reduce(picture)
    return graph.model({"picture": (picture, [1, 3, "h8", "w8"], FLOAT)})
