"""Writes the pack of a model: its graphs, its small arrays and their manifest."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapic.codec import files
from lapic.codec.decode import picture_filter, realism
from lapic.codec.exact import hyper
from lapic.codec.exact.context import low_channels
from lapic.codec.model.codec_weights import Model, load
from lapic.codec.model.shipped import QUALITY_RANGES, SERVED
from lapic.codec.model.weights_file import part
from lapic.codec.nets.translator import Translator
from lapic.codec.picture.tiling import analysis_halo, halo
from lapic.training.pack import analysis as first_analysis
from lapic.training.pack import pictures, second
from lapic.training.pack.analysis import hyper_analysis_graph
from lapic.training.pack.exact import exact_graphs
from lapic.training.pack.pictures import filter_graph, realism_graph

VERSION = 1
# The synthesis' modulations by their names in a pack, for each generation of networks: the table, and how many places
# of the features that it modulates a latent has in a row and in a column.
LEVELS = {
    1: {"enter_level": ("enter_level", 1), "up_level": ("up_level", 2), "quarter_level": ("quarter.level", 4)},
    2: {"enter_level": ("body_levels.0", 1), "up_level": ("body_levels.1", 1)},
}
ALIGNMENT = 8  # bytes
Arrays = Mapping[str, NDArray[Any]]


def write_pack(name: str, folder: Path) -> dict[str, int]:
    """Write the pack of a model into a folder, which is made if it is not there.

    Args:
        name: of a shipped model, or the path of a weights file.

    Returns:
        the bytes of each file by its name.

    Raises:
        Error: the model or its realistic decoder cannot be loaded.
        ValueError: its sums leave no room for the rounding that the graphs add to them.
        OSError: a file cannot be written.
    """
    model = load(name, "cpu", torch.float32)
    translator = realism.find(model)
    contents = graphs(model, translator)
    arrays = small_arrays(model, translator)
    contents["tables.bin"], places = packed(arrays)
    contents["pack.json"] = json.dumps(manifest(model, translator, contents, places), indent=1).encode() + b"\n"
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():  # the manifest comes last
        files.write_output(str(folder / file), content)
    return {file: len(content) for file, content in contents.items()}


def _numpy(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.detach().contiguous().numpy() for name, tensor in tensors.items()}


def graphs(model: Model, translator: Translator | None) -> dict[str, bytes]:
    """All graphs by their files' names."""
    for layer, bound in hyper.largest_sum(model.integers).items():
        if bound + hyper.INDEX_STEP // 2 >= 2**24:
            raise ValueError(
                f"{layer}: a partial sum and half a step may reach {bound}, beyond what float32 keeps exact"
            )
    synthesis, analysis, hyper_analysis = (
        _numpy(part(model.transforms.state_dict(), name)) for name in ("synthesis", "analysis", "hyper_analysis")
    )
    made = exact_graphs(_numpy(model.integers), low_channels(model.integers))
    makers = pictures if model.config.generation == 1 else second
    made |= {"features.onnx": makers.features_graph(synthesis), "synthesis-8.onnx": makers.eighth_graph(synthesis)}
    made |= {"synthesis.onnx": makers.whole_graph(synthesis), "filter.onnx": filter_graph()}
    if translator:
        made["realism.onnx"] = realism_graph(_numpy(translator.state_dict()))
    analysis_graph = first_analysis.analysis_graph if model.config.generation == 1 else second.analysis_graph
    return made | {
        "analysis.onnx": analysis_graph(analysis),
        "hyper-analysis.onnx": hyper_analysis_graph(hyper_analysis),
    }


def small_arrays(model: Model, translator: Translator | None) -> dict[str, NDArray[Any]]:
    """What a decoder and an encoder need beside the graphs."""
    tables = model.tables
    arrays: dict[str, NDArray[Any]] = {
        "tables.hyper": tables.hyper.astype("<i4"),
        "tables.latent": np.concatenate(tables.latent).astype("<i4"),
        "tables.lengths": np.array([len(table) for table in tables.latent], "<i4"),
    }
    state = _numpy(model.transforms.state_dict())
    tensors = {"centroid": model.centroid.numpy(), "threshold": model.threshold.numpy(), "log_gain": state["log_gain"]}
    for row, (name, _) in LEVELS[model.config.generation].items():
        if (key := f"synthesis.{name}.table") in state:
            tensors[row] = state[key]
    if translator:
        rows_of = _numpy({k: v for k, v in translator.state_dict().items() if k.endswith(".task.table")})
        tensors |= {f"realism.{name.removesuffix('.task.table')}": table for name, table in rows_of.items()}
    arrays |= {f"level.{end}": model.integers[f"level.{end}"].numpy().astype("<i4") for end in ("enter", "leave")}
    if picture_filter.SCALE in model.integers:
        arrays["filter.scale"] = picture_filter.scale_index(model)
        units = picture_filter.UNITS[:-1, None, None, None]
        tensors["filter.taps"] = (picture_filter.TAPS * units).numpy()
        tensors["filter.opponent"] = picture_filter.OPPONENT.numpy()
    return arrays | {name: tensor.astype("<f4") for name, tensor in tensors.items()}


def packed(arrays: Arrays) -> tuple[bytes, dict[str, dict[str, Any]]]:
    """The arrays behind each other, and the type, shape and offset in bytes of each."""
    body, places = b"", {}
    for name, array in arrays.items():
        body += bytes(-len(body) % ALIGNMENT)
        places[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "offset": len(body)}
        body += array.tobytes()
    return body, places


def sizes(model: Model, translator: Translator | None) -> dict[str, int]:
    """The numbers of channels by FORMAT.md's letters; 0 for what the model does not have."""
    config = model.config
    found = {"M": config.latent, "Z": config.hyper, "C": low_channels(model.integers), "L": config.levels}
    found |= {"X": config.hyper_wide, "A": config.coarse, "D": config.quarter}
    found["B"] = config.fine if config.generation == 1 else config.coarse
    e, g = translator.config.widths if translator else (0, 0)
    return found | {"E": e, "G": g, "R": len(translator.config.tasks) if translator else 0}


def manifest(
    model: Model, translator: Translator | None, contents: Mapping[str, bytes], places: Mapping[str, Any]
) -> dict[str, Any]:
    """What pack.json holds."""
    return {
        "pack": VERSION,
        "model": model.identity.hex(),
        "name": model.name,
        "qualities": list(SERVED.get(model.name, model.qualities)),
        "tune": next((tune for tune, served in QUALITY_RANGES.items() if model.name in served), None),
        "sizes": sizes(model, translator),
        "halo": {
            "synthesis": halo(model.config),
            "realism": realism.reach(translator) if translator else 0,
            "analysis": analysis_halo(model.config),
        },
        "spread": {row: times for row, (_, times) in LEVELS[model.config.generation].items() if row in places},
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in contents.items()
        },
        "arrays": places,
    }
