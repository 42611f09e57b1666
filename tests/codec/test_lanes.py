"""Entropy decoding on a GPU, here by Triton's interpreter where there is none."""

import numpy as np
import pytest
import torch
from PIL import Image

import bitstream
import codec
from bitstream import Error, encode_tile, read_payload
from codec import decoder, encoder
from codec.model import load
from codec.tiling import Rect
from tests.bitstream.test_entropy import random_tables

pytest.importorskip("triton", reason="Triton is not installed: nothing can run the kernel")
lanes = pytest.importorskip("codec.lanes")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_it_finds_the_symbols_of_constriction(count: int) -> None:
    rng, tables = np.random.default_rng(count), random_tables(3)
    z = rng.integers(-63, 64, (3, 4, 5)).astype(np.int8)
    passes = []
    for size in (200, 1, 0, 300):
        index = rng.integers(0, 64, size).astype(np.uint8)
        reach = np.array([len(tables.latent[key]) // 2 - 1 for key in index], int)
        symbols = np.where(index > 0, rng.integers(-reach, reach + 1), 0).astype(np.int16)
        passes.append((symbols, index))
    payload = read_payload(encode_tile(tables, 1, z, passes, count))
    assert len(payload.lanes) == count
    packed = torch.from_numpy(lanes.pack(payload, 100)).to(DEVICE)
    found = lanes.LaneDecoder(lanes.device_tables(tables, DEVICE), packed, count)
    assert np.array_equal(found.hyper(4, 5).cpu(), z)
    assert not found.whole()
    for symbols, index in passes:
        coded = torch.from_numpy(index.astype(np.int8)).to(DEVICE)
        assert np.array_equal(found.latent(coded).cpu(), symbols)
    assert found.whole()


def test_a_tile_of_a_photo_comes_out_as_by_the_processor(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitstream.entropy, "LANE_BYTES", 50)
    model = load("photo", DEVICE.type)
    pixels = np.asarray(photo)[100:164, 100:180]
    header, [tile] = bitstream.read(encoder.encode_pixels(model, pixels, 30, lanes=True))
    payload, rect = read_payload(tile.payload), Rect(0, 0, 4, 5)
    assert len(payload.lanes) > 2
    assert not payload.escapes
    expected = decoder.decode_symbols(load("photo"), header, tile, rect)
    found = lanes.decode_symbols(model, header, tile, rect, payload)
    assert all(np.array_equal(a, b) for a, b in zip(found[:2], expected[:2], strict=True))
    for name in ("mean", "index", "symbol"):
        assert torch.equal(getattr(found[2], name).cpu(), getattr(expected[2], name))
    damaged = bitstream.Tile(tile.payload, tile.crc ^ 1)
    with pytest.raises(Error, match="checksum"):
        lanes.decode_symbols(model, header, damaged, rect, payload)


def test_lanes_change_no_pixel_and_cost_little(large: Image.Image) -> None:
    one, many = (codec.encode(large, 60, effort=0, tile=0, lanes=wanted) for wanted in (False, True))
    assert codec.decode(one) == codec.decode(many)
    assert len(one) < len(many) < 1.005 * len(one)
