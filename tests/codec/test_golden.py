"""Files written once must decode to the same symbols for ever (until 1.0: until the default model is replaced).

`python -m tests.codec.test_golden` writes them anew, for a commit that replaces the model and says so; with `pictures`
behind it only the pictures beside them, for a commit that brings the same model a better synthesis.
"""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

import lapic
from lapic import bitstream
from lapic.codec.decode import decoder
from lapic.codec.decode.decoder import View
from lapic.codec.model.codec_weights import Model, load_by_id
from lapic.codec.model.shipped import WEIGHTS
from lapic.codec.selftest import GOLDEN, golden, symbols_digest
from tests import reference, reference_pixels
from tests.conftest import EXAMPLES

EXPECTED = GOLDEN / "golden.json"
NAMES = sorted(golden()) if EXPECTED.exists() else []


def model_of(data: bytes, dtype: torch.dtype | None = None) -> Model:
    """The model that a file was made for."""
    return load_by_id(bitstream.read_header(data).model, dtype=dtype)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_symbols(name: str, threads: int, dtype: torch.dtype) -> None:
    data, before = (GOLDEN / name).read_bytes(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = symbols_digest(data, model_of(data, dtype=dtype))
    finally:
        torch.set_num_threads(before)
    assert found == golden()[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("piece", [8, 128])
def test_pixels_to_within_one_grey_level(name: str, piece: int) -> None:
    header, tiles = bitstream.read((GOLDEN / name).read_bytes())
    found = decoder.decode_pixels(load_by_id(header.model, dtype=torch.float32), header, tiles, View(piece=piece))
    expected = np.asarray(Image.open(GOLDEN / f"{name}.png"))
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_decoder_finds_the_same_symbols(name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    file = reference.read_file(data)
    tensors = load_file(WEIGHTS / f"{model_of(data).name}.safetensors")
    rows, columns = -(-file.height // 16), -(-file.width // 16)
    edge = file.tile // 16 or max(rows, columns)
    corners = [(top, left) for top in range(0, rows, edge) for left in range(0, columns, edge)]
    each, digest = reference.qualities(file), hashlib.sha256()
    for (top, left), payload, crc in zip(corners, file.payloads, file.crcs, strict=True):
        h, w = min(edge, rows - top), min(edge, columns - left)
        here = each[top : top + h, left : left + w]
        z, symbols, _, _ = reference.decode_tile(payload, h, w, file.quality, tensors, crc, here)
        digest.update(z.astype("<i2").tobytes() + symbols.astype("<i2").tobytes())
    assert digest.hexdigest() == golden()[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_decoder_finds_the_same_pixels(name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    tensors = load_file(WEIGHTS / f"{model_of(data).name}.safetensors")
    found = reference_pixels.decode(data, tensors)
    assert np.abs(found.astype(int) - np.asarray(Image.open(GOLDEN / f"{name}.png"))).max() <= 1


# filter, second generation, grey, map
@pytest.mark.parametrize("name", ["dots-q100.lapic", "fast-q40.lapic", "grey-q50.lapic", "regions-q40.lapic"])
@pytest.mark.parametrize(("scale", "realism"), [(2, 0), (4, 0), (8, 0), (1, 0.5), (2, 1)])
def test_the_reference_decoder_makes_the_same_views(name: str, scale: int, realism: float) -> None:
    data = (GOLDEN / name).read_bytes()
    header, tiles = bitstream.read(data)
    model = load_by_id(header.model, dtype=torch.float32)
    tensors, realistic = (load_file(path / f"{model.name}.safetensors") for path in (WEIGHTS, WEIGHTS / "realism"))
    expected = reference_pixels.decode(data, tensors, scale, realism, realistic)
    found = decoder.decode_pixels(model, header, tiles, View(scale, realism=realism))
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("scale", "realism"), [(1, 0), (2, 0), (8, 0), (1, 0.3)])
def test_the_reference_decoder_filters_grey_pictures_and_their_parts_alike(scale: int, realism: float) -> None:
    header, tiles = bitstream.read((GOLDEN / "grey-q50.lapic").read_bytes())
    model = load_by_id(header.model, dtype=torch.float32)
    tensors, realistic = (load_file(path / f"{model.name}.safetensors") for path in (WEIGHTS, WEIGHTS / "realism"))
    coefficients = np.random.default_rng(0).integers(-6, 7, (3, 76)).astype(np.int16)
    index = tensors["integers.filter.scale"].astype(np.uint8)
    body = bytes([11]) + bitstream.encode_values(model.tables, coefficients, index)
    header = dataclasses.replace(header, chunks={b"filt": body})
    whole = reference_pixels.decode(bitstream.write(header, tiles), tensors, scale, realism, realistic).astype(int)
    found = decoder.decode_pixels(model, header, tiles, View(scale, realism=realism))
    assert np.abs(found - whole).max() <= 1
    crop = decoder.decode_pixels(model, header, tiles, View(scale, (37, 21, 50, 41), piece=4, realism=realism))
    rows, columns = slice(21 // scale, -(-62 // scale)), slice(37 // scale, -(-87 // scale))
    assert np.abs(crop - whole[rows, columns]).max() <= 1


@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.safetensors")), ids=lambda path: path.stem)
def test_the_model_id_is_that_of_the_format(path: Path) -> None:
    with safe_open(path, "numpy") as file:
        assert reference.model_id(load_file(path)).hex() == file.metadata()["id"]


def test_there_are_golden_files() -> None:
    assert len(NAMES) >= 10


def remake() -> None:
    photo = Image.open(EXAMPLES / "chelsea.png").convert("RGB").crop((90, 40, 253, 149))
    photo = Image.fromarray(np.asarray(photo))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 50, 3), np.uint8))
    dots = np.random.default_rng(0).integers(0, 2, (33, 50), np.uint8) * 255  # more than the tables hold: escapes
    with_alpha = photo.copy()
    with_alpha.putalpha(Image.linear_gradient("L").resize(photo.size))
    with_alpha.info["xmp"] = b"<x:xmpmeta/>"
    files = {
        "photo-q10.lapic": lapic.encode(photo, 10),
        "photo-q90-tiles.lapic": lapic.encode(photo, 90, tile=64),
        "photo-q95-lanes.lapic": lapic.encode(photo, 95, lanes=True),
        "photo-q33.5-whole.lapic": lapic.encode(photo, 33.5, tile=0),
        "grey-q50.lapic": lapic.encode(photo.convert("L"), 50),
        "grey-as-rgb-q60.lapic": lapic.encode(photo.convert("L").convert("RGB").crop((40, 30, 90, 63)), 60),
        "alpha-q70.lapic": lapic.encode(with_alpha, 70),
        "noise-q100.lapic": lapic.encode(noise, 100),
        "dots-q100.lapic": lapic.encode(Image.fromarray(dots).convert("RGB"), 100),
        "pixel-q1.lapic": lapic.encode(Image.new("RGB", (1, 1), (200, 30, 90)), 1),
        "regions-q40.lapic": regions(photo),
        "fast-q40.lapic": lapic.encode(photo, 40, model="fast"),
    }
    metadata = {b"iccp": b"profile " * 9, b"exif": b"Exif\0\0MM\0*", b"xmpd": b"<x:xmpmeta/>", b"note": b"unknown"}
    header, tiles = bitstream.read(lapic.encode(photo.crop((0, 0, 40, 30)), 30))
    files["metadata-q30.lapic"] = bitstream.write(dataclasses.replace(header, chunks=metadata), tiles)
    GOLDEN.mkdir(exist_ok=True)
    expected = {}
    for name, data in files.items():
        (GOLDEN / name).write_bytes(data)
        expected[name] = {"symbols": symbols_digest(data, model_of(data))}
    EXPECTED.write_text(json.dumps(expected, indent=1) + "\n")
    render()


def regions(photo: Image.Image) -> bytes:
    """A file of many qualities, with tiles and lanes."""
    mask = Image.linear_gradient("L").resize(photo.size)
    roi = [mask, (20, 30, 50, 40, 20)]
    return lapic.encode(photo, 40, model="photo", tune="psnr", tile=64, lanes=True, roi=roi)


def render() -> None:
    for path in GOLDEN.glob("*.lapic"):
        header, tiles = bitstream.read(path.read_bytes())
        picture = decoder.decode_pixels(load_by_id(header.model, dtype=torch.float32), header, tiles)
        Image.fromarray(picture).save(path.with_name(f"{path.name}.png"))


if __name__ == "__main__":
    render() if sys.argv[1:] == ["pictures"] else remake()
