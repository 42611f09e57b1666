import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import bitstream
from bitstream import Error
from codec import context, decoder, encoder, hyper
from codec.model import Model, load
from codec.search import rate_weight
from tests import reference
from tests.conftest import weights_file

LOW, INNER = 20, 12


@pytest.fixture(scope="module")
def model() -> Model:
    """The shipped model with a random context that says a lot."""
    generator = torch.Generator().manual_seed(0)
    config, plain = load().config, load(dtype=torch.float32)
    integers = {name: tensor for name, tensor in plain.integers.items() if not name.startswith(("odd.", "rest."))}
    for name, shape in context.shapes(config.latent, config.hyper_wide, LOW, INNER):
        size = 2 if "leave" in name else 25
        integers[name] = (torch.randn(shape, generator=generator) * size).round()
    hyper.assert_exact(integers)
    return dataclasses.replace(plain, integers=integers)


@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 140), width=st.integers(1, 140), tile=st.sampled_from([0, 64]), seed=st.integers(0, 99))
def test_every_symbol_comes_back(model: Model, height: int, width: int, tile: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    header, tiles = bitstream.read(encoder.encode_pixels(model, pixels, 40, tile=tile))
    assert decoder.decode_pixels(model, header, tiles).shape == pixels.shape


def test_the_context_changes_what_is_expected(model: Model, photo: Image.Image) -> None:
    """Encoder and decoder agree on means and scale indices which the low symbols move."""
    pixels = np.asarray(photo)[:128, :192]
    header = encoder.header_of(model, pixels, 60, 0, None)
    [(rect, latent)] = encoder.analyse(model, pixels, 0)
    header, [tile] = bitstream.read(encoder.encode_latents(model, header, [(rect, latent)], pixels))
    z, symbols, coded = decoder.decode_symbols(model, header, tile, rect)
    quality = hyper.fixed_point(60, model.device)
    features = hyper.hyper_synthesis(torch.from_numpy(z)[None].float(), quality, model.integers)[..., :8, :12]
    plain = {name: tensor for name, tensor in model.integers.items() if not name.startswith(("odd.", "rest."))}
    alone = context.code(features, quality, plain, lambda part, mean, index: mean).index
    same = (coded.index == alone)[0].numpy()
    first = context.white(8, 12).numpy()
    assert same[:LOW, first].all()
    assert not same[:LOW, ~first].all()
    assert not same[LOW:].all()
    assert np.array_equal(coded.symbol[0].numpy(), symbols)


def test_the_reference_decoder_finds_the_same_symbols(model: Model, photo: Image.Image) -> None:
    pixels = np.asarray(photo)[50:130, 30:101]
    header, [tile] = bitstream.read(encoder.encode_pixels(model, pixels, 80))
    z, symbols, index, _ = reference.decode_tile(tile.payload, 5, 5, 80 * 256, weights_file(model))
    rect = encoder.latent_bounds(71, 80)
    expected_z, expected_symbols, coded = decoder.decode_symbols(model, header, tile, rect)
    assert np.array_equal(z, expected_z)
    assert np.array_equal(symbols, expected_symbols)
    assert np.array_equal(index, coded.index[0].numpy())


def test_the_search_keeps_to_the_context(model: Model, photo: Image.Image) -> None:
    """Symbols that are searched for change what follows them; the file says what the encoder meant."""
    pixels = np.asarray(photo)[:96, :128]
    files = [encoder.encode_pixels(model, pixels, 50, tile=64, effort=effort) for effort in (0, 5)]
    assert files[0] != files[1]
    weight = rate_weight(hyper.fixed_point(50, model.device)).item()
    costs = []
    for data in files:
        decoded = decoder.decode_pixels(model, *bitstream.read(data))
        costs.append(weight * np.square(decoded - pixels.astype(float)).mean() + 8 * len(data) / (96 * 128))
    assert costs[1] < 0.985 * costs[0]


def test_a_wrong_low_symbol_is_noticed(model: Model, photo: Image.Image) -> None:
    header, [tile] = bitstream.read(encoder.encode_pixels(model, np.asarray(photo)[:64, :64], 50))
    payload = bytearray(tile.payload)
    payload[-30] ^= 1
    with pytest.raises(Error, match="checksum"):
        decoder.decode_pixels(model, header, [dataclasses.replace(tile, payload=bytes(payload))])


@pytest.mark.parametrize("low", [0, 3])
def test_the_passes_hold_every_latent_once(low: int) -> None:
    values = np.arange(5 * 4 * 3).reshape(5, 4, 3)
    assert sorted(np.concatenate([part.ravel() for part in context.split(values, low)])) == list(range(60))
    if low:
        first, second, rest = context.split(values, low)
        assert first.tolist()[0] == [0, 2, 4, 6, 8, 10]
        assert second.shape == (3, 6)
        assert rest.shape == (2, 4, 3)
