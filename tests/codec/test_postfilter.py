import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.ImageFilter import EDGE_ENHANCE_MORE
from torch.nn import functional as F

import lapic
from lapic import bitstream
from lapic.bitstream import Error
from lapic.bitstream.container import FILTER
from lapic.codec.cli import main
from lapic.codec.decode import decoder, picture_filter
from lapic.codec.decode.decoder import View
from lapic.codec.encode import encoder, filter_fit
from lapic.codec.encode.rate import rate_weight, symbol_bits
from lapic.codec.metrics import psnr
from lapic.codec.model.codec_weights import load
from lapic.codec.nets import levels
from lapic.codec.nets.pyramid import reduce
from tests import reference
from tests.conftest import weights_file

CPU = torch.device("cpu")
QUALITY = 80  # the model is eye-high


def texture(seed: int, height: int, width: int) -> torch.Tensor:
    """A picture (1, 3, H, W), some of it beyond -1..1, with detail of all sizes."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(-(-height // step), -(-width // step)) for step in (1, 2, 4, 8, 16)]
    parts = [torch.randn(1, 3, *size, generator=generator) * 0.02 * 2**level for level, size in enumerate(sizes)]
    return sum(F.interpolate(part, (height, width), mode="nearest") for part in parts)


@given(seed=st.integers(0, 2**20), height=st.integers(1, 20), columns=st.integers(1, 5), n=st.integers(0, 24))
@settings(deadline=None, max_examples=40)
def test_filters_do_what_the_format_says(seed: int, height: int, columns: int, n: int) -> None:
    coefficients = np.random.default_rng(seed).integers(-3, 4, (3, picture_filter.FEATURES)).astype(np.int16)
    picture = texture(seed, height, 4 * columns)
    found = picture_filter.of_coefficients(coefficients, n, CPU)(picture)
    expected = reference.filtered(picture[0].double().numpy(), coefficients, n)
    assert np.allclose(found[0], expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_at_a_smaller_scale_flat_areas_change_as_at_full_size() -> None:
    coefficients = np.random.default_rng(1).integers(-9, 10, (3, picture_filter.FEATURES)).astype(np.int16)
    own = picture_filter.of_coefficients(coefficients, 10, CPU)
    flat = torch.tensor([0.3, -0.2, 0.7]).reshape(1, 3, 1, 1).expand(1, 3, 16, 16)
    assert torch.allclose(own(flat[..., :8, :8], 2), own(flat)[..., :8, :8], atol=1e-5)


def test_a_known_filter_is_found_again() -> None:
    rng = np.random.default_rng(0)
    coefficients = rng.integers(-4, 5, (3, picture_filter.FEATURES)) * (rng.random((3, picture_filter.FEATURES)) < 0.1)
    made = texture(3, 200, 240)
    picture = picture_filter.of_coefficients(coefficients.astype(np.int16), 12, CPU)(made)
    seen = filter_fit.statistics(made, picture, stride=1)
    bits = symbol_bits(load().tables).double().numpy()
    index = np.full(coefficients.shape, 16, np.uint8)
    found, n, gain = filter_fit.fit(seen, 1e6, bits, index)
    again = picture_filter.of_coefficients(found, n, CPU)(made)
    before, after = (float((picture - one).square().sum()) for one in (made.clamp(-1, 1), again))
    assert after < 0.1 * before
    spent = bits[index, np.abs(found)].sum()
    assert gain == pytest.approx(1e6 * (before - after) - spent, rel=0.02)
    assert not filter_fit.fit(seen, 1e-3, bits, index)[0].any()  # an error worth nothing


@pytest.mark.parametrize(("grain", "keeps"), [(0.08, True), (0.0, False)])
def test_a_filter_for_the_eye_keeps_fine_detail_that_the_original_has(grain: float, keeps: bool) -> None:
    """Grain that the decoded picture has in other places is an error by its square."""
    smooth = F.interpolate(texture(3, 50, 60), scale_factor=4, mode="bicubic")
    first, second = (torch.randn(smooth.shape, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    seen = filter_fit.statistics(smooth + 0.03 * first, smooth + grain * second, 1)
    bits, index = symbol_bits(load().tables).double().numpy(), np.full((3, picture_filter.FEATURES), 16, np.uint8)
    for keep, least, most in ((False, 0, 0.5), (True, 0.9, 1.1) if keeps else (True, 0, 0.5)):
        coefficients, n, gain = filter_fit.fit(seen, 1e4, bits, index, keep)
        assert least <= seen.detail_left(coefficients, n) <= most
        assert gain > 0


def test_what_a_filter_leaves_of_fine_detail_is_foreseen() -> None:
    made = texture(7, 200, 240) / 4
    seen = filter_fit.statistics(made, made, 1)
    coefficients = np.zeros((3, picture_filter.FEATURES), np.int16)
    coefficients[0, 1] = coefficients[0, 7] = 4
    shown = picture_filter.of_coefficients(coefficients, 10, CPU)(made)
    left = filter_fit.statistics(shown, made, 1)
    foreseen = seen.detail_left(coefficients, 10)
    assert foreseen < 0.8
    assert foreseen == pytest.approx(float((left.detail[0] / left.detail[1]).sqrt()), abs=0.1)


def test_statistics_of_parts_and_of_some_pixels_are_like_those_of_all() -> None:
    made = texture(5, 240, 240)
    picture = made + 0.1 * texture(6, 240, 240)
    whole = filter_fit.statistics(made, picture, 1)
    parts = [
        filter_fit.statistics(made[..., rows, :], picture[..., rows, :], 1) for rows in (slice(0, 100), slice(100, 240))
    ]
    both = parts[0] + parts[1]
    some = filter_fit.statistics(made, picture, 3)
    for close, found in ((0.02, both), (0.1, some)):
        assert torch.allclose(found.gram.diagonal(), whole.gram.diagonal(), rtol=close)
    assert filter_fit.stride_for(100 * 100) == 1
    assert filter_fit.stride_for(768 * 512) == 3
    assert filter_fit.stride_for(10**9) % 2 == 1


@pytest.fixture(scope="module")
def fringed(photo: Image.Image) -> Image.Image:
    """The sample photo with its red shifted by a pixel, as lenses do it: a filter of its own pays."""
    pixels = np.asarray(photo).copy()
    pixels[:, :-1, 0] = pixels[:, 1:, 0]
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def filtered(fringed: Image.Image) -> bytes:
    return lapic.encode(fringed, QUALITY, effort=1)


def without(data: bytes) -> bytes:
    header, tiles = bitstream.read(data)
    return bitstream.write(dataclasses.replace(header, chunks={}), tiles)


def test_a_file_with_its_filter_is_nearer_to_the_picture(fringed: Image.Image, filtered: bytes) -> None:
    header, _ = bitstream.read(filtered)
    assert 10 < len(header.chunks[FILTER]) < 300
    pixels = np.asarray(fringed)
    with_it, without_it = (psnr(pixels, np.asarray(lapic.decode(data))) for data in (filtered, without(filtered)))
    assert with_it > without_it + 0.5
    assert not bitstream.read(lapic.encode(fringed, 60, effort=0))[0].chunks


def test_the_reference_decoder_finds_the_same_filter(filtered: bytes) -> None:
    file = reference.read_file(filtered)
    model = load("eye-high")
    coefficients, n = reference.decode_filter(file.chunks[FILTER], weights_file(model))
    own = picture_filter.read(model, bitstream.read(filtered)[0].chunks)
    assert own is not None
    picture = texture(0, 16, 16)
    assert np.allclose(own(picture)[0], reference.filtered(picture[0].double().numpy(), coefficients, n), atol=1e-5)


def test_pieces_crops_and_scales_are_filtered_alike(filtered: bytes) -> None:
    header, tiles = bitstream.read(filtered)
    model = load("eye-high", dtype=torch.float32)
    whole = decoder.decode_pixels(model, header, tiles)
    pieces = decoder.decode_pixels(model, header, tiles, View(piece=8))
    assert np.abs(whole.astype(int) - pieces).max() <= 1
    crop = decoder.decode_pixels(model, header, tiles, View(crop=(40, 31, 90, 65)))
    assert np.abs(whole[31:96, 40:130].astype(int) - crop).max() <= 1
    half = decoder.decode_pixels(model, header, tiles, View(2)).astype(float)
    small = reduce(torch.from_numpy(whole).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy()
    assert np.abs(half - small).mean() < 1


def test_realism_does_without(filtered: bytes) -> None:
    by_realism = [
        [np.asarray(lapic.decode(data, realism=realism)).astype(int) for data in (filtered, without(filtered))]
        for realism in (0.01, 0.5, 1)
    ]
    changes = [np.abs(a - b).mean() for a, b in by_realism]
    assert changes[0] > changes[1] > changes[2] == 0


def test_grey_pictures_have_filters_too(photo: Image.Image) -> None:
    model, pixels = load("photo", dtype=torch.float32), np.asarray(photo.convert("L").filter(EDGE_ENHANCE_MORE))
    data = encoder.encode_pixels(model, pixels[50:200, 100:300], 60, effort=1)
    assert FILTER in bitstream.read(data)[0].chunks
    shown = [decoder.decode_pixels(model, *bitstream.read(one)) for one in (data, without(data))]
    assert psnr(pixels[50:200, 100:300], shown[0]) > psnr(pixels[50:200, 100:300], shown[1])


@pytest.mark.parametrize(("edge", "pays"), [(32, False), (73, False), (96, True)])
def test_a_filter_is_sent_only_if_it_pays(fringed: Image.Image, edge: int, pays: bool) -> None:
    """The larger a picture, the more it saves. At 73 pixels it saves half of the bits that its chunk takes besides the
    coefficients, at 32 not even those."""
    model = load("photo-high", dtype=torch.float32)
    pixels = np.asarray(fringed)[10 : 10 + edge, 20 : 20 + edge]
    data = encoder.encode_pixels(model, pixels, QUALITY, effort=1, tune="psnr")
    assert (FILTER in bitstream.read(data)[0].chunks) == pays
    if pays:
        costs = []
        for one in (data, without(data)):
            error = decoder.decode_pixels(model, *bitstream.read(one)) - pixels.astype(float)
            costs.append(rate_weight(levels.fixed_point(QUALITY, CPU)).item() * np.square(error).mean() * edge**2)
            costs[-1] += 8 * len(one)
        assert costs[0] < costs[1]


@pytest.mark.parametrize("body", [b"", b"\x19\x00", b"\x0c", b"\x0c\x09", b"\x0c\x00\x00\x00\x00\x00", b"\x0c\x00abc"])
def test_a_damaged_filter_is_named(filtered: bytes, body: bytes) -> None:
    header, tiles = bitstream.read(filtered)
    with pytest.raises(Error, match="filter is damaged"):
        lapic.decode(bitstream.write(dataclasses.replace(header, chunks={FILTER: body}), tiles))


def test_a_model_without_filters_refuses_one(filtered: bytes) -> None:
    model = load("eye-high")
    integers = {name: tensor for name, tensor in model.integers.items() if name != picture_filter.SCALE}
    bare = dataclasses.replace(model, integers=integers)
    with pytest.raises(Error, match="no filters"):
        picture_filter.read(bare, bitstream.read(filtered)[0].chunks)


def test_strip_leaves_the_filter(fringed: Image.Image, tmp_path: Path) -> None:
    fringed.save(tmp_path / "a.png")
    made = CliRunner().invoke(
        main, ["encode", "--strip", "-e", "1", "-q", str(QUALITY), str(tmp_path / "a.png"), str(tmp_path / "a.lapic")]
    )
    assert made.exit_code == 0, made.output
    assert FILTER in bitstream.read((tmp_path / "a.lapic").read_bytes())[0].chunks
