"""A small builder of ONNX graphs, and the layers that all graphs of a pack share.

Graphs are written operator by operator, because PyTorch's exporters refuse some of what the codec's networks do in
place, and would keep shapes and copies that a decoder does not need. Tensors are (1, C, h, w) float32 with h and w of
any size; a layer's weights take the smallest form that holds them exactly.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lapic.codec.model import weights_file
from lapic.codec.model.weights_file import LARGE

OPSET, IR_VERSION = 17, 8  # old enough for every runtime of the last years
FLOAT, INT32, UINT8 = int(TensorProto.FLOAT), int(TensorProto.INT32), int(TensorProto.UINT8)
Shape = Sequence[int | str]
Outputs = Mapping[str, tuple[str, Shape, int]]


def compact(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in the smallest of int8, float16 and float32 that holds all of them exactly."""
    for kind in (np.int8, np.float16):
        with np.errstate(over="ignore", invalid="ignore"):
            smaller = array.astype(kind)
        if np.array_equal(smaller.astype(np.float64), array):
            return smaller
    return array.astype(np.float32)


def rows_of_bytes(array: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """A weight (D, C, h, w) as bytes and a scale for each row (D, 1, 1, 1) whose products are exactly the weight, if
    its weights file has it so; else None."""
    if array.size < LARGE:
        return None
    numbers, scale = weights_file.rows_of_bytes(torch.from_numpy(array))
    exact = np.array_equal(weights_file.of_bytes(numbers, scale).numpy(), array)
    return (numbers.numpy(), scale.float().numpy().reshape(-1, 1, 1, 1)) if exact else None


class Graph:
    """An ONNX graph in the making. Its methods append an operator and return the name of what that gives."""

    def __init__(self, name: str, weights: Mapping[str, NDArray[Any]]) -> None:
        self.name, self.weights = name, weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Shape, kind: int = FLOAT) -> str:
        """Declare an input; dimensions of any size have names."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def rows(self, name: str, channels: int) -> str:
        """Declare an input with the row of a level table at each place, (1, channels, h, w), or one for all, 1 x 1."""
        return self.input(name, [1, channels, f"{name}_h", f"{name}_w"])

    def apply(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """One operator with one output."""
        return self.several(operator, inputs, 1, **attributes)[0]

    def several(self, operator: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """One operator with `count` outputs."""
        outputs = [f"{operator}_{len(self.nodes)}_{number}" for number in range(count)]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs

    def constant(self, array: NDArray[Any]) -> str:
        """An array as it is, stored once."""
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(np.ascontiguousarray(array), f"c{len(self.constants)}")
        return self.constants[key].name

    def number(self, value: float) -> str:
        """A float32 of no dimensions."""
        return self.constant(np.array(value, np.float32))

    def weight(self, array: NDArray[Any], one: float = 1.0) -> str:
        """An array divided by `one`, a power of two, as float32, stored `compact` before that."""
        stored = compact(array)
        rows = rows_of_bytes(array) if stored.dtype == np.float32 else None
        if rows:
            name = self.apply("Mul", self.apply("Cast", self.constant(rows[0]), to=FLOAT), self.constant(rows[1]))
        else:
            name = self.constant(stored)
            name = name if stored.dtype == np.float32 else self.apply("Cast", name, to=FLOAT)
        return name if one == 1 else self.apply("Mul", name, self.number(1 / one))

    def conv(self, x: str, weight: str, bias: str | None, kernel: int = 1, **attributes: Any) -> str:
        """A convolution by square kernels of `kernel` pixels, (out, in / group, kernel, kernel)."""
        inputs = [x, weight] if bias is None else [x, weight, bias]
        return self.apply("Conv", *inputs, kernel_shape=[kernel, kernel], **attributes)

    def shuffle(self, x: str, factor: int) -> str:
        """Pixel shuffle, (1, C factor^2, h, w) -> (1, C, factor h, factor w)."""
        return self.apply("DepthToSpace", x, blocksize=factor, mode="CRD")

    def split(self, x: str, sizes: Sequence[int]) -> list[str]:
        """Parts of so many channels each."""
        return self.several("Split", [x, self.constant(np.array(sizes, np.int64))], len(sizes), axis=1)

    def clip(self, x: str, low: float, high: float) -> str:
        """Limit to low..high."""
        return self.apply("Clip", x, self.number(low), self.number(high))

    def point(self, x: str, name: str, order: NDArray[Any] | slice = slice(None)) -> str:
        """The 1x1 layer `name` of the float networks, with its output channels in an `order` or some of them."""
        bias = self.weights.get(f"{name}.bias")
        weight = self.weight(self.weights[f"{name}.weight"][order])
        return self.conv(x, weight, None if bias is None else self.weight(bias[order]))

    def cells(self, x: str, name: str, edge: int) -> str:
        """The 1x1 layer `name` of what is unshuffled by `edge`, as one convolution in strides."""
        weight = self.weights[f"{name}.weight"]  # (D, C edge^2, 1, 1)
        weight = weight.reshape(len(weight), -1, edge, edge)
        bias = self.weight(self.weights[f"{name}.bias"])
        return self.conv(x, self.weight(weight), bias, edge, strides=[edge, edge])

    def filter(self, x: str, name: str) -> str:
        """The depthwise 3x3 layer `name`, zero around the border."""
        weight, bias = (self.weight(self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.conv(x, weight, bias, 3, pads=[1, 1, 1, 1], group=len(self.weights[f"{name}.weight"]))

    def silu(self, x: str) -> str:
        """x / (1 + exp(-x))."""
        return self.apply("Mul", x, self.apply("Sigmoid", x))

    def blocks(self, x: str, name: str) -> str:
        """The residual blocks `name.0`, `name.1`, ... (lapic.codec.nets.network.Block)."""
        number = 0
        while f"{name}.{number}.mix.weight" in self.weights:
            block = f"{name}.{number}"
            branch = self.filter(self.silu(self.point(x, f"{block}.mix")), f"{block}.filter")
            x = self.apply("Add", x, self.point(branch, f"{block}.join"))
            branch = self.point(self.silu(self.point(x, f"{block}.widen")), f"{block}.narrow")
            x = self.apply("Add", x, branch)
            number += 1
        return x

    def modulate(self, x: str, row: str, channels: int) -> str:
        """x (1 + a) + b by rows (1, 2 channels, h, w), or one of 1 x 1, of a and b."""
        scale, shift = self.split(row, [channels, channels])
        scaled = self.apply("Mul", x, self.apply("Add", scale, self.number(1)))
        return self.apply("Add", scaled, shift)

    def model(self, outputs: Outputs) -> bytes:
        """The checked graph as a file's bytes.

        Args:
            outputs: by their names: what each is called within the graph, its shape and its type.
        """
        nodes = [*self.nodes]
        for name, (inner, _, _) in outputs.items():
            nodes.append(helper.make_node("Identity", [inner], [name]))
        declared = [helper.make_tensor_value_info(name, kind, shape) for name, (_, shape, kind) in outputs.items()]
        graph = helper.make_graph(nodes, self.name, self.inputs, declared, list(self.constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "lapic"
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))
