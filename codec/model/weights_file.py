"""Weights files of codecs: large matrices as bytes, other floats in half precision, integers, tables.

A matrix of bytes has a scale for each of its rows, of which each makes one channel of a layer's output.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from lapic.bitstream import Error, Tables
from lapic.codec import files
from lapic.codec.exact import hyper
from lapic.codec.model.shipped import file_state, unreadable
from lapic.codec.nets.config import Config
from lapic.codec.nets.network import Transforms

LARGE = 2**15  # numbers from which a matrix is stored as bytes
LARGE_IN_SYNTHESIS = 2**16  # the same for a decoder, whose smaller matrices are those next to the pixels
# Linear paths carry most of the picture. What sees latents has columns of very different sizes.
IN_HALF_PRECISION = ("linear.weight", "enter.weight")
BYTE = 127  # the largest magnitude of a byte


def identity(integers: dict[str, Tensor], tables: Tables) -> bytes:
    """First four bytes of the SHA-256 over the integer tensors (sorted by name, as little-endian int32) and tables."""
    digest = hashlib.sha256()
    for name in sorted(integers):
        digest.update(name.encode() + integers[name].cpu().to(torch.int32).numpy().astype("<i4").tobytes())
    for table in [tables.hyper, *tables.latent]:
        digest.update(table.astype("<i4").tobytes())
    return digest.digest()[:4]


def save(
    path: Path,
    config: Config,
    transforms: Transforms,
    integers: dict[str, Tensor],
    tables: Tables,
    centroid: Tensor,
    curvature: Tensor,
    density: dict[str, Tensor],
    card: dict[str, str],
) -> bytes:
    """Write a weights file (safetensors: floats and integers, the rest in its metadata) and return the model id.

    Args:
        integers: the hyper-synthesis, checked here to be exact. curvature: see `Model`.
        density: parameters of the hyper-latent's density; unused in coding, training goes on from them.
        card: provenance as text, `name` -> value.

    Raises:
        ValueError: the integer bound does not hold or a table is invalid.
    """
    hyper.assert_exact(integers)
    tables.check()
    tensors = _stored(transforms.state_dict())
    tensors |= {f"integers.{k}": v.to(_integer_type(k, v)).contiguous() for k, v in integers.items()}
    tensors |= {f"density.{k}": v.detach().contiguous() for k, v in density.items()}
    tensors["tables.hyper"] = torch.from_numpy(tables.hyper)
    tensors["tables.latent"] = torch.from_numpy(np.concatenate(tables.latent))
    tensors["tables.lengths"] = torch.tensor([len(table) for table in tables.latent], dtype=torch.int32)
    tensors["centroid"] = centroid.float().contiguous()
    tensors["curvature"] = curvature.half().contiguous()
    model_id = identity(integers, tables)
    metadata = {"id": model_id.hex(), "config": json.dumps(asdict(config)), "card": json.dumps(card)}
    files.write_output(str(path), serialise(tensors, metadata))
    return model_id


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a weights file. Raises `Error` if it cannot be read."""
    file_state(path)
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise Error(unreadable(path, error)) from None


@contextmanager
def damaged_weights(path: Path) -> Iterator[None]:
    """Raise any exception that building a network from a weights file causes as an `Error` about the file."""
    try:
        yield
    except (Error, MemoryError):
        raise
    except Exception:
        raise Error(f"weights {path.name} are damaged: their tensors do not fit their configuration") from None


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix.`, by their names without it."""
    return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}


def float_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The transforms' tensors of a weights file in float32, by their names without `transforms.`."""
    scales = part(tensors, "scales")
    return {
        name: of_bytes(tensor, scales[name]) if name in scales else tensor.float()
        for name, tensor in part(tensors, "transforms").items()
    }


def _stored(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The transforms' tensors as a weights file holds them: what `float_tensors` reads."""
    tensors = {}
    for name, tensor in state.items():
        if is_in_bytes(name, tensor):
            tensors[f"transforms.{name}"], tensors[f"scales.{name}"] = rows_of_bytes(tensor.detach().float())
        else:
            tensors[f"transforms.{name}"] = tensor.detach().half().contiguous()
    return tensors


def is_in_bytes(name: str, tensor: Tensor) -> bool:
    """Whether a tensor of the transforms is stored as bytes."""
    least = LARGE_IN_SYNTHESIS if name.startswith("synthesis.") else LARGE
    return tensor.dim() == 4 and tensor.numel() >= least and not name.endswith(IN_HALF_PRECISION)


def of_bytes(numbers: Tensor, scale: Tensor) -> Tensor:
    """The float32 weight (D, C, 1, 1) of what `rows_of_bytes` returns."""
    return numbers.float() * scale.float().reshape(-1, 1, 1, 1)


def rows_of_bytes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A float weight (D, C, 1, 1) as bytes -127..127, int8, and the scales (D,), float16, that its rows are to be
    multiplied by. The weight that they make gives the same bytes and scales again."""
    largest = weight.flatten(1).abs().amax(1)
    scale = (largest / BYTE).half()
    above = (scale.view(torch.int16) + 1).view(torch.float16)
    scale = torch.where(scale.float() * BYTE < largest, above, scale)
    steps = torch.where(scale > 0, scale.float(), 1.0)  # a row of zeros
    return (weight / steps.reshape(-1, 1, 1, 1)).round().to(torch.int8).contiguous(), scale


def _integer_type(name: str, integers: Tensor) -> torch.dtype:
    """The type in which a tensor of the exact networks is stored: weights as bytes where they fit."""
    if not name.endswith("weight"):
        return torch.int32
    return torch.int8 if integers.abs().max() <= BYTE else torch.int16
