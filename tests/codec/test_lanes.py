"""Entropy decoding on a GPU, here by Triton's interpreter where there is none."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

import lapic
from lapic import bitstream
from lapic.bitstream import Error, encode_tile, entropy, read_payload
from lapic.bitstream.varint import write_varint
from lapic.codec.decode import symbols as symbols_module
from lapic.codec.encode import encoder
from lapic.codec.exact.context import Coded, Pass
from lapic.codec.gpu.tables import device_tables
from lapic.codec.model.codec_weights import load, load_for
from lapic.codec.nets import levels
from lapic.codec.picture.tiling import Rect
from tests.bitstream.test_entropy import random_tables

pytest.importorskip("triton", reason="Triton is not installed: nothing can run the kernel")
from lapic.codec.gpu import entropy_decode, entropy_encode, packed

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("count", [1, 2, 7, 60])
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
    found = entropy_decode.LaneDecoder(device_tables(tables, DEVICE), packed.pack(payload, 100).to(DEVICE))
    assert np.array_equal(found.hyper(4, 5).cpu(), z)
    assert not found.whole()
    for symbols, index in passes:
        coded = torch.from_numpy(index).to(DEVICE)
        assert np.array_equal(found.latent(Pass(slice(None), None), coded).cpu(), symbols)
    assert found.whole()


def test_a_tile_of_a_photo_comes_out_as_by_the_processor(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropy, "LANE_SYMBOLS", 50)
    model = load("photo", DEVICE.type)
    pixels = np.asarray(photo)[100:148, 100:164]
    header, [tile] = bitstream.read(encoder.encode_pixels(model, pixels, 30, lanes=True))
    payload, rect = read_payload(tile.payload), Rect(0, 0, 3, 4)
    assert len(payload.lanes) > 2
    assert not payload.escapes
    expected = symbols_module.decode_symbols(load("photo"), header, tile, rect)
    found = entropy_decode.decode_symbols(model, header, tile, rect, payload)
    assert torch.equal(found[0].cpu(), expected[0])
    for name in ("mean", "index", "symbol"):
        assert torch.equal(getattr(found[1], name).cpu(), getattr(expected[1], name))
    damaged = bitstream.Tile(tile.payload, tile.crc ^ 1)
    with pytest.raises(Error, match="checksum"):
        entropy_decode.decode_symbols(model, header, damaged, rect, payload)


@pytest.mark.parametrize(("quality", "per_lane", "most"), [(30, 12, 64), (30, 12, 2), (90, 60, 64), (1, 10**6, 64)])
def test_the_encoder_makes_the_bytes_of_constriction(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch, quality: int, per_lane: int, most: int
) -> None:
    monkeypatch.setattr(encoder, "lanes_for", lambda count: min(entropy.lanes_for(count), most))
    for module in (entropy, entropy_encode):
        monkeypatch.setattr(module, "LANE_SYMBOLS", per_lane)
    model = load_for("auto", quality, DEVICE.type)
    pixels, fixed = np.asarray(photo)[100:116, 100:140], levels.fixed_point(quality, DEVICE)
    [(_, latent)] = encoder.analyse(model, pixels, 0)
    rounded = encoder.round_latents(model, latent, fixed)
    level = levels.nearest_level(fixed, len(model.tables.hyper))
    found = entropy_encode.payload_of(entropy_encode.push(model, rounded.z, rounded.coded, level, most, 2000))
    _, [tile] = bitstream.read(encoder.encode_pixels(model, pixels, quality, tile=0, lanes=True))
    assert found == tile.payload
    assert (len(read_payload(found).lanes) in range(2, most + 1)) == (quality > 1)
    assert entropy_encode.payload_of(entropy_encode.push(model, rounded.z, rounded.coded, level, 64, 2)) is None


@pytest.mark.parametrize("count", [1, 5])
def test_escapes_come_in_the_order_of_coding(count: int) -> None:
    rng, tables = np.random.default_rng(count), random_tables(3)
    passes = []
    for size in (150, 40):
        index = rng.integers(1, 64, size).astype(np.uint8)
        passes.append((rng.integers(-32767, 32768, size).astype(np.int16), index))
    z = np.zeros((3, 1, 1), np.int8)
    tile = packed.pack(read_payload(encode_tile(tables, 0, z, passes, count)), 1)
    assert tile.escape_count > 100
    found = entropy_decode.LaneDecoder(device_tables(tables, DEVICE), tile.to(DEVICE))
    found.hyper(1, 1)
    for symbols, index in passes:
        assert not found.whole()
        assert np.array_equal(found.latent(Pass(slice(None), None), torch.from_numpy(index).to(DEVICE)).cpu(), symbols)
    assert found.whole()


def test_a_packed_tile_is_one_buffer_that_can_be_filled_anew() -> None:
    rng, tables = np.random.default_rng(0), random_tables(3)
    z = np.zeros((3, 1, 1), np.int8)
    payloads = []
    for size, count in ((400, 6), (90, 2)):
        index, symbols = np.full(size, 9, np.uint8), rng.integers(-900, 900, size).astype(np.int16)
        payloads.append(read_payload(encode_tile(tables, 0, z, [(symbols, index)], count)))
    on_device = packed.PackedTile.empty(8, 2000).to(DEVICE)
    host = packed.PackedTile.empty(8, 2000)
    for payload, quality in zip(payloads, (30.5, 100), strict=True):
        on_device.copy_(packed.pack(payload, quality, 0xFFFFFFFE, host))
        alone = packed.pack(payload, quality, 0xFFFFFFFE)
        assert len(alone.buffer) == packed.PackedTile.size(len(payload.lanes), sum(map(len, payload.lanes)))
        assert (int(on_device.quality), int(on_device.crc)) == (quality * 256, -2)
        assert (on_device.lane_count, on_device.first_index) == (len(payload.lanes), payload.first)
        count, escapes = int(alone.lane_count), int(alone.escape_count)
        assert escapes > 50
        for name, used in {
            "escapes": escapes, "states": 2 * count, "word_ends": count, "word_begins": count, "words": len(alone.words)
        }.items():  # fmt: skip
            assert torch.equal(getattr(on_device, name)[:used].cpu(), getattr(alone, name)[:used]), name
        assert not on_device.states[2 * count :].any()
        assert torch.equal(on_device.word_ends[count:], on_device.word_begins[count:])


def test_an_escape_beyond_the_limit_is_refused() -> None:
    tables = random_tables(3)
    index, z = np.full(40, 9, np.uint8), np.zeros((3, 1, 1), np.int8)
    width = len(tables.latent[9]) // 2 - 1
    symbols = np.full(40, width + 1, np.int16)
    payload = read_payload(encode_tile(tables, 0, z, [(symbols, index)], 2))
    assert payload.escapes == bytes(40)
    for number, accepted in ((2 * (32767 - width - 1) + 1, True), (2 * (32767 - width), False)):
        with_last = dataclasses.replace(payload, escapes=bytes(39) + write_varint(number))
        found = entropy_decode.LaneDecoder(device_tables(tables, DEVICE), packed.pack(with_last, 1).to(DEVICE))
        found.hyper(1, 1)
        found.latent(Pass(slice(None), None), torch.from_numpy(index).to(DEVICE))
        assert found.whole() == accepted


def test_too_many_escapes_are_left_to_the_processor() -> None:
    model = load("photo", DEVICE.type)
    z = torch.zeros(1, model.config.hyper, 1, 1, device=DEVICE)
    shape = 1, model.config.latent, 2, 2
    level = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    symbol, index = torch.zeros(shape, device=DEVICE), torch.zeros(shape, device=DEVICE)
    symbol.view(-1)[:1025], index.view(-1)[:1025] = 30000, 5  # all others are left out
    coded = Coded(torch.zeros_like(index), index, symbol)
    pushed = entropy_encode.push(model, z, coded, level, 4, 5000)
    assert pushed.escapes[0] == 1025
    assert entropy_encode.payload_of(pushed) is None
    pushed.escapes[0] -= 1
    payload = entropy_encode.payload_of(pushed)
    assert payload is not None
    assert packed.pack(read_payload(payload), 1).escape_count == 1024
    for size in (1025, 9000):
        with pytest.raises(Error, match="1024 escapes"):
            packed.pack(bitstream.Payload(1, b"\0" * size, [np.zeros(0, np.uint32)]), 1)


def test_lanes_change_no_pixel_and_cost_little(large: Image.Image) -> None:
    one, many = (lapic.encode(large, 60, effort=0, tile=0, lanes=wanted) for wanted in (False, True))
    assert lapic.decode(one) == lapic.decode(many)
    assert len(one) < len(many) < 1.005 * len(one)
