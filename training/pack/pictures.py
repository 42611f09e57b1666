"""The graphs from latents to pixels: synthesis, the picture's filter and the realistic decoder.

They compute what codec.nets and codec.decode do, in float32. What differs is the order of channels: features at 1/8 of
the size are ordered so that one pixel shuffle by 2 gives the three finer bands of the pyramid at 1/4, and the linear
picture beside them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapic.codec.nets.translator import BANDS
from lapic.training.pack.graph import FLOAT, Graph

Weights = Mapping[str, NDArray[Any]]
ROWS = np.array([[1, 6, 1], [0, 4, 4]]) / 8  # the two rows that doubling makes of one
HALVING = np.array([1, 4, 6, 4, 1]) / 16
BASE = 3 * 8 * 8  # channels of the linear picture at 1/8
REACH = 2  # of the picture's filter in pixels


def cells_by_two(edge: int) -> NDArray[np.int64]:
    """The channels of a picture unshuffled by `edge`, in the order from which a shuffle by 2 makes the picture
    unshuffled by `edge` / 2."""
    half = edge // 2
    colour, fine_row, fine_column, row, column = np.ogrid[:3, :half, :half, :2, :2]
    order = (colour * edge + half * row + fine_row) * edge + half * column + fine_column
    return np.asarray(order, np.int64).ravel()


def bands_by_two() -> NDArray[np.int64]:
    """The channels of the synthesis' layer `leave` without its coarsest band, ordered so that a shuffle by 2 gives the
    channels of `quarter.leave`."""
    starts = [3, 3 + 12, 3 + 12 + 48]
    return np.concatenate([start + cells_by_two(edge) for start, edge in zip(starts, (2, 4, 8), strict=True)])


class PictureGraph(Graph):
    """A graph with the pyramid's operators for pictures (1, 3, H, W)."""

    def padded(self, x: str, before: int, after: int) -> str:
        """The border repeated outwards by so many pixels."""
        pads = [0, 0, before, before, 0, 0, after, after]
        return self.apply("Pad", x, self.constant(np.array(pads, np.int64)), mode="edge")

    def expand(self, x: str) -> str:
        """Double and blur, (1, 3, h, w) -> (1, 3, 2h, 2w)."""
        kernel = np.einsum("ai,bj->abij", ROWS, ROWS).reshape(4, 1, 3, 3)
        return self.shuffle(
            self.conv(self.padded(x, 1, 1), self.weight(np.tile(kernel, (3, 1, 1, 1))), None, 3, group=3), 2
        )

    def reduce(self, x: str) -> str:
        """Blur and halve, (1, 3, 2h, 2w) -> (1, 3, h, w)."""
        kernel = np.tile(np.outer(HALVING, HALVING), (3, 1, 1, 1))
        return self.conv(self.padded(x, 2, 1), self.weight(kernel), None, 5, group=3, strides=[2, 2])

    def collapse(self, *bands: str) -> str:
        """The picture of a pyramid, coarse to fine."""
        picture, *finer = bands
        for band in finer:
            picture = self.apply("Add", self.expand(picture), band)
        return picture

    def bands(self, x: str) -> tuple[str, str, str]:
        """63 channels at 1/4 to three bands at 1/4, 1/2 and 1/1."""
        quarter, half, whole = self.split(x, BANDS)
        return quarter, self.shuffle(half, 2), self.shuffle(whole, 4)


def features_graph(weights: Weights) -> bytes:
    """y -> the linear picture at 1/8 (192 channels in the order of `cells_by_two`) and the last features there."""
    graph = PictureGraph("features", {**weights, "see.weight": weights["see.weight"][:, cells_by_two(8)]})
    coarse, latent = weights["enter.weight"].shape[:2]
    fine = len(weights["see.weight"])
    y = graph.input("y", [1, latent, "h", "w"])
    enter_level = graph.rows("enter_level", 2 * coarse)
    up_level = graph.rows("up_level", 2 * fine)
    order = (4 * cells_by_two(8)[:, None] + np.arange(4)).ravel()  # of the rows that a shuffle by 2 makes the base of
    base = graph.shuffle(graph.point(y, "linear", order), 2)
    x = graph.blocks(graph.modulate(graph.point(y, "enter"), enter_level, coarse), "coarse")
    x = graph.apply("Add", graph.shuffle(graph.point(x, "up"), 2), graph.point(base, "see"))
    x = graph.blocks(graph.modulate(x, up_level, fine), "fine")
    return graph.model({"base": (base, [1, BASE, "2h", "2w"], FLOAT), "features": (x, [1, fine, "2h", "2w"], FLOAT)})


def _inputs(graph: PictureGraph) -> tuple[str, str]:
    """What `features_graph` gives, as inputs."""
    fine = graph.weights["leave.weight"].shape[1]
    return graph.input("base", [1, BASE, "h8", "w8"]), graph.input("features", [1, fine, "h8", "w8"])


def eighth_graph(weights: Weights) -> bytes:
    """The linear picture and features -> the picture at 1/8."""
    graph = PictureGraph("synthesis-8", weights)
    base, features = _inputs(graph)
    picture = graph.shuffle(graph.shuffle(base, 2), 4)
    for _ in range(3):
        picture = graph.reduce(picture)
    picture = graph.apply("Add", picture, graph.point(features, "leave", slice(0, 3)))
    return graph.model({"picture": (picture, [1, 3, "h8", "w8"], FLOAT)})


def whole_graph(weights: Weights) -> bytes:
    """The linear picture and features -> the picture at full size."""
    graph = PictureGraph("synthesis", weights)
    base, features = _inputs(graph)
    cells = graph.shuffle(base, 2)  # (1, 48, 4h, 4w), the linear picture unshuffled by 4
    change = graph.shuffle(graph.point(features, "leave", bands_by_two()), 2)  # (1, 63, 4h, 4w)
    if "quarter.up.weight" in weights:
        width = len(weights["quarter.see.weight"])
        row = graph.rows("quarter_level", 2 * width)
        x = graph.apply("Add", graph.shuffle(graph.point(features, "quarter.up"), 2), graph.point(cells, "quarter.see"))
        x = graph.blocks(graph.modulate(x, row, width), "quarter.blocks")
        change = graph.apply("Add", change, graph.point(x, "quarter.leave"))
    quarter, half, whole = graph.split(change, BANDS)
    whole = graph.shuffle(graph.apply("Add", whole, cells), 4)
    lowest = graph.point(features, "leave", slice(0, 3))
    picture = graph.collapse(lowest, quarter, graph.shuffle(half, 2), whole)
    return graph.model({"picture": (picture, [1, 3, "H", "W"], FLOAT)})


def filter_graph() -> bytes:
    """A picture, and its filter's kernel with the picture itself -> the filtered picture."""
    graph = PictureGraph("filter", {})
    size = 2 * REACH + 1
    picture = graph.input("picture", [1, 3, "H", "W"])
    kernel, constant = graph.input("kernel", [3, 3, size, size]), graph.input("constant", [3])
    limited = graph.padded(graph.clip(picture, -1, 1), REACH, REACH)
    return graph.model({"filtered": (graph.conv(limited, kernel, constant, size), [1, 3, "H", "W"], FLOAT)})


def realism_graph(weights: Weights) -> bytes:
    """A picture and the synthesis' features -> the realistic picture (lapic.codec.decode.realism)."""
    graph = PictureGraph("realism", weights)
    fine, coarse = len(weights["enter.weight"]), len(weights["down.0.weight"])
    seen, beside = weights["see.weight"].shape[:2]
    picture = graph.input("picture", [1, 3, "H", "W"])
    features = graph.input("features", [1, beside, "h", "w"])

    def stage(x: str, name: str, channels: int) -> str:
        row = graph.input(name.replace(".", "_"), [1, 2 * channels, 1, 1])
        return graph.blocks(graph.modulate(x, row, channels), f"{name}.blocks")

    here = stage(graph.cells(picture, "enter", 4), "there.0", fine)
    see = graph.point(features, "see")
    if seen > coarse:
        see = graph.shuffle(see, 2)
    below = graph.apply("Add", graph.cells(here, "down.0", 2), see)
    up = graph.shuffle(graph.point(stage(below, "there.1", coarse), "up.0"), 2)
    x = stage(graph.apply("Add", here, up), "back.0", fine)
    strength = graph.input("strength", [1])
    count = len(weights["leave.weight"]) // 2
    masks = graph.bands(graph.point(x, "leave", slice(0, count)))
    residuals = graph.bands(graph.point(x, "leave", slice(count, None)))
    half = graph.reduce(picture)
    quarter = graph.reduce(half)
    pyramid = [quarter, *(graph.apply("Sub", a, graph.expand(b)) for a, b in ((half, quarter), (picture, half)))]
    changes = [
        graph.apply("Add", graph.apply("Mul", band, mask), residual)
        for band, mask, residual in zip(pyramid, masks, residuals, strict=True)
    ]  # a collapse is linear, so that of the changes is added to the picture
    added = graph.apply("Mul", graph.collapse(*changes), strength)
    return graph.model({"realistic": (graph.apply("Add", picture, added), [1, 3, "H", "W"], FLOAT)})
