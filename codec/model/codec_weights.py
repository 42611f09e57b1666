"""Codec models in memory, as encoder and decoder use them."""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from lapic.bitstream import Error, Tables
from lapic.codec.defaults import DEFAULT_MODEL, DEFAULT_TUNE
from lapic.codec.exact import hyper
from lapic.codec.exact.quantise import thresholds
from lapic.codec.host import isolated
from lapic.codec.model.shipped import check_model, file_state, find_model, model_for, model_id, name_of
from lapic.codec.model.weights_file import damaged_weights, float_tensors, identity, part, read_weights
from lapic.codec.nets import levels
from lapic.codec.nets.config import Config
from lapic.codec.nets.network import Transforms

Weights = TypeVar("Weights")
CACHE_SIZE = 4  # loaded networks that stay in memory


@dataclass
class Model:
    """A loaded model. `identity` is the four-byte id in file headers: it names the integers that decide how symbols are
    decoded, so weights that differ in the float half only share it. `dtype` is that of the networks (not of the linear
    paths and the exact hyper-synthesis, which are always float32). `curvature` (L, M) is the second derivative of the
    picture's square error by each latent channel, relative to that of an orthonormal synthesis."""

    name: str
    identity: bytes
    config: Config
    transforms: Transforms
    integers: dict[str, Tensor]
    tables: Tables
    centroid: Tensor
    threshold: Tensor
    curvature: Tensor
    card: dict[str, str]
    device: torch.device
    dtype: torch.dtype

    def level(self, quality: Tensor) -> int:
        """The rate level whose tables the hyper-latent has at a fixed-point quality, (1,)."""
        return int(levels.nearest_level(quality, len(self.tables.hyper)))

    def curvature_at(self, quality: Tensor) -> Tensor:
        """`curvature`, (B, M, 1, 1) at fixed-point qualities (B,), or (B, M, h, w) at those of places (B, h, w)."""
        return levels.broadcast_rows(levels.interpolate_levels(self.curvature, quality).float())

    @property
    def qualities(self) -> tuple[float, float]:
        """The lowest and the highest quality that it was trained for; others may give artefacts."""
        return float(self.card.get("lowest", 1)), float(self.card.get("highest", 100))

    def check_quality(self, quality: float) -> None:
        """Raise `Error` if the model was not trained for a quality 1..100."""
        low, high = self.qualities
        if not low <= quality <= high:
            span = f"qualities {low:g} to {high:g}"
            raise Error(f"the model {self.name} is for {span}: quality {quality:g} needs another")


def cached_by_file(find: Callable[[str], Path]) -> Callable[[Callable[..., Weights]], Callable[..., Weights]]:
    """Cache a function of (name, device, dtype): the last CACHE_SIZE results, each as long as the file that `find`
    returns for the name is unchanged. The device is checked by `pick_device`."""

    def wrapper(load: Callable[..., Weights]) -> Callable[..., Weights]:
        @lru_cache(maxsize=CACHE_SIZE)
        def load_cached(path: str, _: tuple[int, int], device: str, dtype: torch.dtype | None) -> Weights:
            return load(path, device, dtype)

        @wraps(load)
        def cached(name: str = DEFAULT_MODEL, device: str = "cpu", dtype: torch.dtype | None = None) -> Weights:
            path = find(name)
            return load_cached(str(path), file_state(path), pick_device(device), dtype)

        cached.cache_clear = load_cached.cache_clear  # type: ignore[attr-defined]
        return cached

    return wrapper


def pick_device(name: str) -> str:
    """ "auto" -> "cuda" if there is a GPU, else "cpu"; other names are checked.

    Raises:
        Error: the device is not there.
        ValueError: the name is none of these.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {name!r} is none of auto, cpu, cuda and cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise Error("there is no CUDA device here: use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise Error(f"there is no device {name}: this machine has {torch.cuda.device_count()}")
    return str(device)


def default_dtype(device: torch.device) -> torch.dtype:
    """float16 on a GPU, bfloat16 on a processor with instructions for it, else float32."""
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if _multiplies_bfloat16() else torch.float32


def _multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16. oneDNN supports the type wherever there is
    AVX-512 too, but there it multiplies floats, at a quarter of their speed."""
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return not is_x86 or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@cached_by_file(find_model)
@isolated
def load(name: str | os.PathLike[str] = DEFAULT_MODEL, device: str = "cpu", dtype: torch.dtype | None = None) -> Model:
    """Load a model by its name or the path of its weights file, see `codec.model.shipped.find_model`.

    Args:
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N". dtype: of the networks; None chooses by
            device.

    Raises:
        Error: there is no such file, it holds no codec model, it is damaged, or its integers do not match its id; or
            the device is not there.
        ValueError: the device is none of these.
    """
    path = find_model(name)
    identifier = model_id(path)
    tensors, metadata = read_weights(path)
    torch_device = torch.device(device)
    with damaged_weights(path):
        model = _from_tensors(path.stem, tensors, metadata, dtype or default_dtype(torch_device))
    if model.identity != identifier:
        raise Error(f"weights {path.name} are damaged: their integers do not match their id")
    return _on_device(model, torch_device)


def _from_tensors(name: str, tensors: dict[str, Tensor], metadata: dict[str, str], dtype: torch.dtype) -> Model:
    """A model on the CPU from the contents of its weights file. Raises exceptions of many types if they do not fit.
    Nothing of the model lies in the file's mapped memory: the file may be overwritten while the model is in use."""
    config = Config(**json.loads(metadata["config"]))
    with torch.device("meta"):
        transforms = Transforms(config)
    transforms.load_state_dict(float_tensors(tensors), assign=True)
    for module in transforms.modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:  # all but the linear paths
            module.to(dtype)
    transforms = transforms.to(memory_format=torch.channels_last).requires_grad_(False).eval()
    integers = {k: v.to(torch.float32) for k, v in part(tensors, "integers").items()}
    lengths = tensors["tables.lengths"].tolist()
    latent = [table.numpy() for table in tensors["tables.latent"].clone().split(lengths)]
    tables = Tables(tensors["tables.hyper"].clone().numpy(), latent)
    hyper.assert_exact(integers)
    tables.check()
    model = Model(
        name=name,
        identity=identity(integers, tables),
        config=config,
        transforms=transforms,
        integers=integers,
        tables=tables,
        centroid=tensors["centroid"].clone(),
        threshold=thresholds(tables),
        curvature=tensors.get("curvature", torch.ones_like(transforms.log_gain)).float(),
        card=dict(json.loads(metadata["card"])),
        device=torch.device("cpu"),
        dtype=dtype,
    )
    low, high = model.qualities
    if not 1 <= low <= high <= 100:
        raise ValueError(f"the model is for qualities {low} to {high}")
    return model


def _on_device(model: Model, device: torch.device) -> Model:
    """A model whose tensors are moved to a device."""
    return replace(
        model,
        transforms=model.transforms.to(device),
        integers={name: tensor.to(device) for name, tensor in model.integers.items()},
        centroid=model.centroid.to(device),
        threshold=model.threshold.to(device),
        curvature=model.curvature.to(device),
        device=device,
    )


def load_by_id(
    model_id: bytes,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    given: str | os.PathLike[str] | None = None,
) -> Model:
    """The model that a file's header names.

    Args:
        device, dtype: as for `load`.
        given: name or weights file of the model; None looks for it among the shipped ones and in the folders of own
            models, see `codec.model.shipped.model_folders`.

    Raises:
        Error: it is not installed, the given one is another, or as `load` does.
        ValueError: as `load` does.
    """
    name = name_of(model_id) if given is None else str(check_model(given, model_id))
    return load(name, device, dtype)


def load_for(name: str | os.PathLike[str], quality: float, device: str = "cpu", tune: str = DEFAULT_TUNE) -> Model:
    """The model to encode with at a quality 1..100: the one that a name as for `load`, or "auto", means there
    (`model_for`). Raises `Error` as `load` does, and if the model was not trained for the quality."""
    model = load(model_for(name, quality, tune), device)
    model.check_quality(quality)
    return model
