"""Golden files, decoded here and now: does this machine find the very symbols that every machine must find?"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lapic import bitstream
from lapic.bitstream import Error
from lapic.codec.decode import decoder
from lapic.codec.decode import symbols as symbols_module
from lapic.codec.model.codec_weights import Model, default_dtype, load_by_id
from lapic.codec.picture.tiling import latent_bounds, tile_edge

GOLDEN = Path(__file__).parent / "golden"
LEVELS_EXACT, LEVELS_HALF = 1, 12  # grey levels by which single pixels may differ in float32 and in half precision


@dataclass(frozen=True)
class Trial:
    """One golden file on one device: what was tried, whether it passed, and what was found."""

    what: str
    passed: bool
    found: str


def golden() -> dict[str, str]:
    """Golden file name -> SHA-256 of its symbols."""
    return {name: entry["symbols"] for name, entry in json.loads((GOLDEN / "golden.json").read_text()).items()}


def symbols_digest(data: bytes, model: Model) -> str:
    """SHA-256 over z and y of every tile, each as little-endian 16-bit integers in raster order.

    Raises:
        Error: the file does not decode.
    """
    header, tiles = bitstream.read(data)
    bounds = latent_bounds(header.width, header.height)
    digest = hashlib.sha256()
    for rect, tile in zip(bounds.cut(tile_edge(header.tile, bounds)), tiles, strict=True):
        z, coded = symbols_module.decode_symbols(model, header, tile, rect)
        for integers in (z, coded.symbol[0]):
            digest.update(integers.cpu().numpy().astype("<i2").tobytes())
    return digest.hexdigest()


def pixel_difference(data: bytes, expected: bytes, model: Model) -> int:
    """The largest difference in grey levels between a file's decode and a stored PNG of it."""
    header, tiles = bitstream.read(data)
    found = decoder.decode_pixels(model, header, tiles)
    return int(np.abs(found.astype(int) - np.asarray(Image.open(io.BytesIO(expected)))).max())


def trials() -> Iterator[Trial]:
    """Every golden file on every device of this machine, in both precisions, with one thread and with all."""
    devices = ["cpu"] + [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    every = torch.get_num_threads()
    for device in devices:
        for dtype in dict.fromkeys([torch.float32, default_dtype(torch.device(device))]):
            models = partial(load_by_id, device=device, dtype=dtype)
            for threads in dict.fromkeys([1, every] if device == "cpu" else [every]):
                torch.set_num_threads(threads)
                try:
                    yield _trial(models, dtype, f"{device}, {str(dtype).removeprefix('torch.')}, {threads} thread(s)")
                finally:
                    torch.set_num_threads(every)


def _trial(models: Callable[[bytes], Model], dtype: torch.dtype, what: str) -> Trial:
    """All golden files with the models, in one precision, that `models` gives by their ids."""
    wrong, worst = [], 0
    for name, expected in golden().items():
        data = (GOLDEN / name).read_bytes()
        try:
            model = models(bitstream.read_header(data).model)
            if symbols_digest(data, model) != expected:
                wrong.append(name)
            worst = max(worst, pixel_difference(data, (GOLDEN / f"{name}.png").read_bytes(), model))
        except Error as error:
            wrong.append(f"{name} ({error})")
    limit = LEVELS_EXACT if dtype == torch.float32 else LEVELS_HALF
    if wrong:
        return Trial(what, False, f"other symbols in {', '.join(wrong)}")
    return Trial(what, worst <= limit, f"{len(golden())} files, same symbols, pixels within {worst} grey level(s)")
