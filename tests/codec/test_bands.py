"""The decoder of pictures that are too large for memory."""

import gc

import numpy as np
import pytest
import torch

from lapic import bitstream
from lapic.codec.decode import decoder, symbols
from lapic.codec.decode.decoder import View
from lapic.codec.encode import encoder
from lapic.codec.model.codec_weights import load


def latents_held(channels: int) -> int:
    """Places of all latents in memory: those of tensors (1, `channels`, h, w)."""
    found = [one for one in gc.get_objects() if type(one) is torch.Tensor and one.ndim == 4]
    return sum(one.shape[2] * one.shape[3] for one in found if one.shape[1] == channels)


def test_tiles_above_are_dropped() -> None:
    """What is held does not grow with the height of a picture that is decoded band by band."""
    model = load("photo", dtype=torch.float32)
    pixels = np.random.default_rng(0).integers(0, 256, (1280, 64, 3), np.uint8)
    header, tiles = bitstream.read(encoder.encode_pixels(model, pixels, 30, tile=64))
    assert len(tiles) == 20
    held = [latents_held(model.config.latent) for _ in decoder.decode_bands(model, header, tiles, View(piece=4))]
    assert len(held) == 20
    assert max(held[10:]) <= max(held[4:8])


def test_each_tile_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, decoded = load("photo", dtype=torch.float32), []
    pixels = np.random.default_rng(0).integers(0, 256, (192, 200, 3), np.uint8)
    header, tiles = bitstream.read(encoder.encode_pixels(model, pixels, 30, tile=64))
    real = symbols.decode_symbols
    monkeypatch.setattr(symbols, "decode_symbols", lambda *given: decoded.append(given[3]) or real(*given))
    decoder.decode_pixels(model, header, tiles, View(piece=3))
    assert len(decoded) == len(set(decoded)) == 12
