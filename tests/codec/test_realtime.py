"""Decoding to a tensor without a word to the host, here on a CPU by Triton's interpreter where there is no GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import bitstream
import codec
from bitstream import Error
from codec import postfilter
from codec.model import load

pytest.importorskip("triton", reason="Triton is not installed: nothing can run the kernel")
realtime = pytest.importorskip("codec.realtime")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> Image.Image:
    return photo.crop((100, 100, 170, 160))


@pytest.fixture(scope="module")
def decoder() -> "realtime.RealtimeDecoder":
    return realtime.RealtimeDecoder(load("photo", DEVICE), 70, 60, lanes=32, words=1000)


def with_filter(data: bytes) -> bytes:
    header, tiles = bitstream.read(data)
    model = load("photo")
    coefficients = np.zeros((3, postfilter.FEATURES), np.int16)
    coefficients[0, :2] = 3, -5
    body = bytes([8]) + bitstream.encode_values(
        model.tables, coefficients, model.integers[postfilter.SCALE].numpy().astype(np.uint8)
    )
    return bitstream.write(replace(header, chunks={postfilter.FILTER: body}), tiles)


def test_a_stream_of_files_gives_their_pictures(
    decoder: "realtime.RealtimeDecoder", small: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitstream.entropy, "LANE_BYTES", 60)
    files = [codec.encode(small, quality, effort=0, tile=0, lanes=True) for quality in (5, 40)]
    files += [with_filter(files[0]), codec.encode(small.convert("L"), 10, effort=0)]
    shown = list(decoder.stream(files))
    for data, picture in zip(files, shown, strict=True):
        expected = np.asarray(codec.decode(data, device="cpu")).reshape(60, 70, -1)
        assert picture.dtype == torch.uint8
        assert picture.shape == expected.shape
        assert np.abs(picture.cpu().numpy().astype(int) - expected).max() <= (0 if DEVICE == "cpu" else 4)
    assert not torch.equal(shown[0], shown[2])


def test_what_it_is_not_for_is_refused(decoder: "realtime.RealtimeDecoder", small: Image.Image) -> None:
    good = codec.encode(small, 5, effort=0)
    header, [tile] = bitstream.read(good)
    damaged = bitstream.write(header, [bitstream.Tile(tile.payload[:-5] + b"\1" + tile.payload[-4:], tile.crc)])
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 2, (60, 70, 3), np.uint8) * 255)
    refused = {
        "checksum": damaged,
        "70 x 60": codec.encode(small.crop((0, 0, 60, 60)), 5, effort=0),
        "by the model photo": codec.encode(small, 70, effort=0),
        "one tile": codec.encode(small, 5, effort=0, tile=64),
        "lanes|escapes": codec.encode(noise, 60, effort=0, lanes=True),
    }
    for reason, data in refused.items():
        with pytest.raises(Error, match=reason):
            decoder(data)
