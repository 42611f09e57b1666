import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lapic import bitstream
from lapic.bitstream import Error
from lapic.codec.decode import decoder
from lapic.codec.decode import symbols as symbols_module
from lapic.codec.encode import encoder
from lapic.codec.encode.rate import rate_weight
from lapic.codec.exact import context, hyper, products
from lapic.codec.model.codec_weights import Model, load
from lapic.codec.nets import levels
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
    z, coded = symbols_module.decode_symbols(model, header, tile, rect)
    quality = levels.fixed_point(60, model.device)
    features = hyper.hyper_synthesis(z[None].float(), quality, model.integers)[..., :8, :12]
    plain = {name: tensor for name, tensor in model.integers.items() if not name.startswith(("odd.", "rest."))}
    alone = context.run_passes(features, quality, plain, lambda part, mean, index: mean).index
    same = (coded.index == alone)[0].numpy()
    first = context.checkerboard(8, 12).numpy()
    assert same[:LOW, first].all()
    assert not same[:LOW, ~first].all()
    assert not same[LOW:].all()


def test_the_reference_decoder_finds_the_same_symbols(model: Model, photo: Image.Image) -> None:
    pixels = np.asarray(photo)[50:130, 30:101]
    header, [tile] = bitstream.read(encoder.encode_pixels(model, pixels, 80))
    z, symbols, index, _ = reference.decode_tile(tile.payload, 5, 5, 80 * 256, weights_file(model))
    rect = encoder.latent_bounds(71, 80)
    expected_z, coded = symbols_module.decode_symbols(model, header, tile, rect)
    assert np.array_equal(z, expected_z.numpy())
    assert np.array_equal(symbols, coded.symbol[0].numpy())
    assert np.array_equal(index, coded.index[0].numpy())


def plain_arithmetic(
    integers: dict[str, np.ndarray], features: np.ndarray, quality: int, symbols: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means and scale indices (M, h, w) by the reference's int64, from features (W, h, w) and symbols (M, h, w)."""
    exact = reference.Integers(integers)
    low, m = exact.low, len(symbols)
    u = exact.sums(features, quality)
    means, indices = exact.parameters(u)
    white = np.add(*np.ogrid[: symbols.shape[1], : symbols.shape[2]]) % 2 == 0
    odd = np.concatenate([u[:low], u[m : m + low]]) + exact.context("odd", symbols[:low] * white, features)
    rest = np.concatenate([u[low:m], u[m + low :]]) + exact.context("rest", symbols[:low], features)
    for mine, of_odd, of_rest in zip((means, indices), exact.parameters(odd), exact.parameters(rest), strict=True):
        mine[:low] = np.where(white, mine[:low], of_odd)
        mine[low:] = of_rest
    return means, indices


def near_the_limits(model: Model) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Integers with partial sums near 2^24 that cancel, features (1, W, h, w) and symbols (1, M, h, w) of all sizes."""
    generator = torch.Generator().manual_seed(3)
    shape = (1, model.config.hyper_wide, 6, 9)
    features = torch.randint(0, hyper.ACTIVATION_MAX + 1, shape, generator=generator).float()
    reach = torch.tensor([3.0, 300.0, 2000.0, 32767.0])
    reach = reach[torch.randint(0, 4, (model.config.latent, 1, 1), generator=generator)]
    symbols = (torch.rand(1, model.config.latent, 6, 9, generator=generator) * 2 - 1).mul(reach).round()
    integers = dict(model.integers)
    for name in ("odd.leave.weight", "rest.leave.weight"):
        means, indices = integers[name].chunk(2)
        integers[name] = torch.cat([means.sign() * 40, indices])
    means, indices = integers["point4.weight"].chunk(2)
    integers["point4.weight"] = torch.cat([(means / 2).round(), (indices / 16).round().clamp(-1, 1)])
    means, indices = integers["level.leave"].chunk(2, dim=1)
    spread = (torch.rand(means.shape, generator=generator) * 2 - 1) * 2**22
    integers["level.leave"] = torch.cat([spread.round(), torch.full_like(indices, 8000)], dim=1)
    return integers, features, symbols


def run(integers: dict[str, torch.Tensor], features: torch.Tensor, symbols: torch.Tensor) -> tuple[np.ndarray, ...]:
    coded = context.run_passes(features, torch.tensor([9000]), integers, lambda part, *_: symbols[:, part.channels])
    return coded.mean[0].numpy(), coded.index[0].numpy()


def test_equals_plain_integer_arithmetic_up_to_the_limits(model: Model) -> None:
    integers, features, symbols = near_the_limits(model)
    assert 2**23 < max(hyper.largest_sum(integers).values()) < 2**24
    plain = {name: tensor.numpy() for name, tensor in integers.items()}
    expected = plain_arithmetic(plain, features[0].long().numpy(), 9000, symbols[0].long().numpy())
    assert (np.abs(expected[0]) == 16383).any()
    assert len(np.unique(expected[1])) > 50
    for found, right in zip(run(integers, features, symbols), expected, strict=True):
        assert np.array_equal(found, right)


@pytest.mark.parametrize("precision", ["high", "medium"])
@pytest.mark.parametrize("obeying", [False, True])
def test_a_host_that_allows_less_precise_products_gets_the_same_integers(
    model: Model, precision: str, obeying: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a processor that makes use of what it is allowed, as GPUs do (TF32) and some CPUs (bfloat16)."""
    inputs, multiply = near_the_limits(model), torch.matmul
    expected = run(*inputs)

    def obey(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        if left.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
            left, right = left.bfloat16().float(), right.bfloat16().float()
        return multiply(left, right)

    monkeypatch.setattr(products, "_bytes_are_faster", lambda: False)
    if obeying:
        monkeypatch.setattr(torch, "matmul", obey)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = run(*inputs)
    finally:
        torch.set_float32_matmul_precision(before)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_search_keeps_to_the_context(model: Model, photo: Image.Image) -> None:
    """Symbols that are searched for change what follows them; the file says what the encoder meant."""
    pixels = np.asarray(photo)[:96, :128]
    files = [encoder.encode_pixels(model, pixels, 50, tile=64, effort=effort, tune="psnr") for effort in (0, 5)]
    assert files[0] != files[1]
    weight = rate_weight(levels.fixed_point(50, model.device)).item()
    costs = []
    for data in files:
        decoded = decoder.decode_pixels(model, *bitstream.read(data))
        costs.append(weight * np.square(decoded - pixels.astype(float)).mean() + 8 * len(data) / (96 * 128))
    assert costs[1] < 0.99 * costs[0]


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
