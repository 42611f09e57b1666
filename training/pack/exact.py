"""The graphs that decide about symbols, for float32 sums that are exact on every runtime.

They compute what `codec.exact` does. A sum in these graphs is that of codec.exact divided by 128 (by 256 for scale
indices) with one half added, so `floor` rounds it. Powers of two leave float32 sums exact: they are taken in any order,
since no partial sum of the integers reaches 2^24.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapic.codec.exact.context import SYMBOL_ONE, SYMBOL_SEEN
from lapic.codec.exact.hyper import (
    ACTIVATION_MAX,
    INDEX_STEP,
    MEAN_MAX,
    MEAN_ONE,
    SCALES,
    WEIGHT_ONE,
)
from lapic.training.pack.graph import FLOAT, INT32, UINT8, Graph, Outputs, Shape

Integers = Mapping[str, NDArray[Any]]


class ExactGraph(Graph):
    """A graph of exact layers; `weights` are the integer tensors."""

    def activation(self, total: str) -> str:
        """The next layer's input from a layer's sums. The limits are whole numbers, so they may come before `floor`,
        where a runtime does both at once with the convolution."""
        return self.apply("Floor", self.clip(total, 0, ACTIVATION_MAX))

    def bias(self, name: str) -> str:
        """A layer's bias with the half for rounding."""
        return self.constant(((self.weights[f"{name}.bias"] + WEIGHT_ONE / 2) / WEIGHT_ONE).astype(np.float32))

    def product(self, x: str, name: str, bias: str | None = None, one: int = 1) -> str:
        """The sums of a pointwise layer of x in units of 1 / `one`."""
        return self.conv(x, self.weight(self.weights[f"{name}.weight"][:, :, None, None], WEIGHT_ONE / one), bias)

    def pointwise(self, x: str, name: str, one: int = 1) -> str:
        """A pointwise layer with its activation."""
        return self.activation(self.product(x, name, self.bias(name), one))

    def depthwise(self, x: str, name: str) -> str:
        """A depthwise 3x3 layer with its activation, zero around the border."""
        weight = self.weights[f"{name}.weight"]  # (C, 9)
        taps = self.weight(weight.reshape(-1, 1, 3, 3), WEIGHT_ONE)
        return self.activation(self.conv(x, taps, self.bias(name), 3, pads=[1, 1, 1, 1], group=len(weight)))

    def sums(self, x: str, weight: NDArray[Any], bias: str | None) -> str:
        """The sums (1, 2D, h, w) of means and scale indices by an integer weight (2D, X) and a `bias` of `rows`."""
        half = len(weight) // 2
        one = np.repeat(np.array([1 / WEIGHT_ONE, 1 / INDEX_STEP], np.float32), half)[:, None, None]  # (2D, 1, 1)
        scaled = self.apply("Mul", self.weight(weight[:, :, None, None]), self.constant(one[..., None]))
        total = self.conv(x, scaled, None)
        if bias is None:
            return total
        rounding = self.apply("Add", self.apply("Mul", bias, self.constant(one)), self.number(0.5))
        return self.apply("Add", total, rounding)

    def parameters(self, sums: str, channels: int) -> tuple[str, str]:
        """Means in units of 1/32 (float32) and scale indices (uint8), each (1, channels, h, w)."""
        mean, index = self.split(sums, [channels, channels])
        mean = self.apply("Floor", self.clip(mean, -MEAN_MAX, MEAN_MAX))
        return mean, self.apply("Cast", self.clip(index, 0, SCALES - 1), to=UINT8)

    def context(self, symbols: str, features: str, name: str) -> str:
        """The features of known symbols (codec.exact.context.context_features)."""
        seen = self.clip(symbols, -SYMBOL_SEEN, SYMBOL_SEEN)
        x = self.depthwise(self.pointwise(seen, f"{name}.enter", SYMBOL_ONE), f"{name}.filter")
        x = self.pointwise(self.apply("Concat", x, features, axis=1), f"{name}.mix")
        branch = self.depthwise(self.pointwise(x, f"{name}.widen"), f"{name}.second")
        branch = self.product(branch, f"{name}.join", self.bias(f"{name}.join"))
        return self.activation(self.apply("Add", branch, x))


def rows_of(channels: slice, latent: int) -> NDArray[np.int64]:
    """The rows of `point4` that give the means, then the scale indices of some channels."""
    chosen = np.arange(latent)[channels]
    return np.concatenate([chosen, latent + chosen])


def hyper_graph(integers: Integers, low: int) -> bytes:
    """z -> features, and means and scale indices of the `low` channels that are coded first, of all if that is 0."""
    graph = ExactGraph("hyper", integers)
    hyper_latent, wide = integers["point0.weight"].shape[1], len(integers["point0.weight"])
    latent = len(integers["point4.weight"]) // 2
    first = low or latent
    z = graph.input("z", [1, hyper_latent, "h4", "w4"])
    enter, leave = graph.rows("enter", wide), graph.rows("leave", 2 * first)
    size = graph.input("size", [2], INT32)
    rounding = graph.apply("Add", graph.apply("Mul", enter, graph.number(1 / WEIGHT_ONE)), graph.number(0.5))
    x = graph.activation(graph.apply("Add", graph.product(z, "point0", one=MEAN_ONE), rounding))
    x = graph.depthwise(x, "depth0")
    x = graph.depthwise(graph.shuffle(graph.pointwise(x, "point1"), 2), "depth1")
    x = graph.depthwise(graph.shuffle(graph.pointwise(x, "point2"), 2), "depth2")
    x = graph.apply("Slice", x, graph.constant(np.zeros(2, np.int32)), size, graph.constant(np.array([2, 3], np.int32)))
    x = graph.pointwise(x, "point3")
    sums = graph.sums(x, integers["point4.weight"][rows_of(slice(0, first), latent)], leave)
    mean, index = graph.parameters(sums, first)
    outputs: Outputs = {
        "x": (x, [1, wide, "h", "w"], FLOAT),
        **({"sums": (sums, [1, 2 * first, "h", "w"], FLOAT)} if low else {}),
        "mean": (mean, [1, first, "h", "w"], FLOAT),
        "index": (index, [1, first, "h", "w"], UINT8),
    }
    return graph.model(outputs)


def context_graph(integers: Integers, name: str) -> bytes:
    """Known low symbols and features -> means and scale indices of the channels of a pass, "odd" or "rest"."""
    graph = ExactGraph(f"context-{name}", integers)
    low, wide = integers["odd.enter.weight"].shape[1], len(integers["point0.weight"])
    channels = len(integers[f"{name}.leave.weight"]) // 2
    symbols = graph.input("symbols", [1, low, "h", "w"])
    features = graph.input("x", [1, wide, "h", "w"])
    if name == "odd":
        sums = graph.input("sums", [1, 2 * channels, "h", "w"])
    else:
        latent = len(integers["point4.weight"]) // 2
        rows = integers["point4.weight"][rows_of(slice(low, latent), latent)]
        sums = graph.sums(features, rows, graph.rows("leave", 2 * channels))
    known = graph.context(symbols, features, name)
    total = graph.apply("Add", sums, graph.sums(known, integers[f"{name}.leave.weight"], None))
    mean, index = graph.parameters(total, channels)
    shape: Shape = [1, channels, "h", "w"]
    return graph.model({"mean": (mean, shape, FLOAT), "index": (index, shape, UINT8)})


def exact_graphs(integers: Integers, low: int) -> dict[str, bytes]:
    """All of them by their files' names."""
    graphs = {"hyper.onnx": hyper_graph(integers, low)}
    return graphs | {f"context-{name}.onnx": context_graph(integers, name) for name in ("odd", "rest") if low}
