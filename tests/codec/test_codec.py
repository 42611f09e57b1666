import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import lapic
from lapic import bitstream
from lapic.bitstream.entropy import entropy_bits
from lapic.codec import threads
from lapic.codec.decode import decoder
from lapic.codec.decode import symbols as symbols_module
from lapic.codec.decode.decoder import View
from lapic.codec.encode import encoder
from lapic.codec.metrics import psnr
from lapic.codec.model.codec_weights import default_dtype, load, load_by_id
from lapic.codec.model.shipped import HIGH_QUALITY, PAIRS, WEIGHTS, name_of
from lapic.codec.nets.levels import fixed_point
from lapic.codec.picture.tiling import latent_bounds, tile_edge
from tests.conftest import difference

DTYPES = list(dict.fromkeys([torch.float32, default_dtype(torch.device("cpu"))]))  # that this machine codes in


def symbols_of(data: bytes, **options: object) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """z, symbols and scale indices of every tile of a file."""
    header, tiles = bitstream.read(data)
    model = load_by_id(header.model, **options)
    bounds = latent_bounds(header.width, header.height)
    edge = tile_edge(header.tile, bounds)
    out = []
    for rect, tile in zip(bounds.cut(edge), tiles, strict=True):
        z, coded = symbols_module.decode_symbols(model, header, tile, rect)
        out.append((z.numpy(), coded.symbol[0].to(torch.int16).numpy(), coded.index[0].to(torch.uint8).numpy()))
    return out


@settings(deadline=None, max_examples=25)
@given(
    width=st.integers(1, 150),
    height=st.integers(1, 150),
    mode=st.sampled_from(["RGB", "L"]),
    quality=st.floats(1, 100),
    tile=st.sampled_from([0, 64, 1024]),
    scale=st.sampled_from([1, 2, 4, 8]),
)
def test_every_size_comes_back(width: int, height: int, mode: str, quality: float, tile: int, scale: int) -> None:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    image = Image.fromarray(np.random.default_rng(width).integers(0, 256, shape, np.uint8))
    decoded = lapic.decode(lapic.encode(image, quality, tile=tile, effort=1), scale=scale)
    assert decoded.size == (-(-width // scale), -(-height // scale))
    assert decoded.mode == mode


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (17, 15), (64, 64), (65, 1)])
def test_extreme_sizes(size: tuple[int, int]) -> None:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    decoded = lapic.decode(lapic.encode(image, 90, effort=1))
    assert decoded.size == size
    assert psnr(image, decoded) > 30


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_quality_buys_bits_and_decibels(photo: Image.Image, mode: str) -> None:
    image = photo.convert(mode)
    files = [lapic.encode(image, quality, effort=0) for quality in (1, 20, 40, 60, 80, 100)]
    assert sorted(map(len, files)) == [len(file) for file in files]
    found = [psnr(image, lapic.decode(file)) for file in files]
    assert found == sorted(found)
    assert found[0] > 24
    assert found[-1] > 38


def test_grey_costs_no_colour(photo: Image.Image) -> None:
    grey = photo.convert("L")
    coloured, alone = (len(lapic.encode(image, 50, effort=0)) for image in (photo, grey))
    assert alone < coloured


@pytest.mark.parametrize("quality", [1, 25, 50, 75, 100])
def test_the_file_is_as_small_as_the_model_promises(photo: Image.Image, quality: float) -> None:
    data = lapic.encode(photo, quality, tile=0, effort=1)
    [(z, symbols, index)] = symbols_of(data)
    model = load_by_id(bitstream.read_header(data).model)
    level = model.level(fixed_point(quality, model.device))
    promised = entropy_bits(model.tables, level, z, symbols, index) / 8
    assert promised <= len(data) <= promised * 1.01 + 32


@pytest.mark.parametrize("tile", [0, 64, 256])
def test_pieces_show_no_seam(large: Image.Image, tile: int) -> None:
    header, tiles = bitstream.read(lapic.encode(large.resize((500, 350)), 60, tile=tile, effort=0))
    model = load_by_id(header.model, dtype=torch.float32)
    whole = decoder.decode_pixels(model, header, tiles, View(piece=10**6))
    pieces = decoder.decode_pixels(model, header, tiles, View(piece=8))
    assert np.abs(whole.astype(int) - pieces).max() <= 1


@pytest.mark.parametrize("scale", [2, 8])
def test_analysis_in_pieces_gives_the_same_file(large: Image.Image, scale: int) -> None:
    model = load(dtype=torch.float32)
    pixels = np.asarray(large.resize((1000 // scale, 700 // scale)))
    whole = encoder.encode_pixels(model, pixels, 60, tile=64)
    pieces = encoder.encode_pixels(model, pixels, 60, tile=64, piece=8)
    a, b = (np.concatenate([symbols.ravel() for _, symbols, _ in symbols_of(data)]) for data in (whole, pieces))
    assert (a != b).mean() < 1e-4  # a value on a rounding threshold may fall either way
    assert abs(len(whole) - len(pieces)) <= 0.001 * len(whole)


@pytest.fixture(scope="module")
def in_tiles(large: Image.Image) -> tuple[bitstream.Header, list[bitstream.Tile], np.ndarray]:
    """A file of twelve tiles, and its pixels in float32."""
    header, tiles = bitstream.read(lapic.encode(large, 40, tile=256, effort=0))
    return header, tiles, decoder.decode_pixels(load(dtype=torch.float32), header, tiles)


@settings(deadline=None, max_examples=15)
@given(draw=st.data())
def test_a_crop_is_a_crop_of_the_whole(in_tiles: tuple, draw: st.DataObject) -> None:
    model, (header, tiles, whole) = load(dtype=torch.float32), in_tiles
    x, y = draw.draw(st.integers(0, 999)), draw.draw(st.integers(0, 699))
    w, h = draw.draw(st.integers(1, 1000 - x)), draw.draw(st.integers(1, 700 - y))
    crop = decoder.decode_pixels(model, header, tiles, View(crop=(x, y, w, h)))
    assert np.abs(whole[y : y + h, x : x + w].astype(int) - crop).max() <= 1


def test_a_crop_decodes_only_its_tiles(in_tiles: tuple) -> None:
    header, tiles, _ = in_tiles
    tiles = [tiles[0]] + [bitstream.Tile(b"\xff", 0)] * (len(tiles) - 1)
    assert decoder.decode_pixels(load(), header, tiles, View(crop=(10, 20, 50, 60))).shape == (60, 50, 3)
    with pytest.raises(lapic.Error):
        decoder.decode_pixels(load(), header, tiles, View(crop=(10, 20, 400, 60)))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_scaled_decode_looks_like_the_small_picture(photo: Image.Image, scale: int) -> None:
    data = lapic.encode(photo, 80, effort=0)
    small = lapic.decode(data, scale=scale)
    reduced = lapic.decode(data).resize(small.size, Image.Resampling.BICUBIC)
    assert psnr(small, reduced) > 27


def test_impossible_requests(photo: Image.Image) -> None:
    data = lapic.encode(photo, 50, effort=0)
    for crop in ((0, 0, 452, 1), (-1, 0, 5, 5), (0, 0, 0, 5)):
        with pytest.raises(ValueError, match="not within"):
            lapic.decode(data, crop=crop)
    with pytest.raises(ValueError, match="scale"):
        lapic.decode(data, scale=3)
    for quality in (0, 101, float("nan")):
        with pytest.raises(ValueError, match="quality"):
            lapic.encode(photo, quality)
    for tile in (63, 65, 192, -64):
        with pytest.raises(ValueError, match="tile"):
            lapic.encode(photo, 50, tile=tile)


def test_threads_and_precision_do_not_change_the_symbols(photo: Image.Image) -> None:
    data = lapic.encode(photo, 70, effort=0)
    expected = symbols_of(data)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for dtype in (torch.float32, torch.bfloat16):
                for a, b in zip(expected, symbols_of(data, dtype=dtype), strict=True):
                    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["eye", "fast"])
def test_files_do_not_depend_on_the_number_of_threads(
    photo: Image.Image, name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries add in another order in more threads, which would move values at the edge of two symbols."""
    monkeypatch.setattr(threads, "free_cores", lambda enough: enough)
    model, before = load(name, dtype=dtype), torch.get_num_threads()
    cases = [(np.asarray(photo.resize((700, 430))), 1024, 1), (np.asarray(photo)[:240, :250], 64, 0)]
    try:
        for pixels, tile, effort in cases:
            files, latents = set(), []
            for count in (1, 2, 5):
                torch.set_num_threads(count)
                files.add(encoder.encode_pixels(model, pixels, 50, tile, effort=effort))
                latents.append([latent for _, latent in encoder.analyse(model, pixels, tile)])
            assert len(files) == 1
            for same in zip(*latents, strict=True):
                assert all(torch.equal(same[0], other) for other in same)
    finally:
        torch.set_num_threads(before)


def test_precision_changes_single_pixels_by_little(photo: Image.Image) -> None:
    header, tiles = bitstream.read(lapic.encode(photo, 50, effort=0))
    exact = decoder.decode_pixels(load(dtype=torch.float32), header, tiles).astype(int)
    half = decoder.decode_pixels(load(dtype=torch.bfloat16), header, tiles)
    assert np.abs(exact - half).mean() < 0.4
    assert np.abs(exact - half).max() <= 6


@pytest.mark.parametrize("name", ["point4.weight", "level.leave", "depth1.bias"])
def test_a_decoder_that_drifts_by_one_unit_is_caught(photo: Image.Image, name: str) -> None:
    header, [tile] = bitstream.read(lapic.encode(photo, 70, effort=0))
    rect = latent_bounds(*photo.size)
    model = load.__wrapped__(name_of(header.model))
    symbols_module.decode_symbols(model, header, tile, rect)
    model.integers[name] = model.integers[name] + 1
    with pytest.raises(lapic.Error, match="checksum"):
        symbols_module.decode_symbols(model, header, tile, rect)


@settings(deadline=None, max_examples=4)
@given(st.integers(0, 2**32 - 1))
def test_noise_screens_and_flat_colour_stay_sane(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (70, 90, 3), np.uint8)
    blocks = np.kron(rng.integers(0, 2, (7, 9, 3)) * 255, np.ones((10, 10, 1))).astype(np.uint8)
    flat = np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), (70, 90, 3))
    for pixels, quality, floor in ((noise, 61, 11), (blocks, 60, 20), (blocks, 61, 25), (flat, 60, 40)):
        image = Image.fromarray(np.ascontiguousarray(pixels))
        assert psnr(image, lapic.decode(lapic.encode(image, quality))) > floor  # both models learned patterns


@pytest.mark.parametrize(("quality", "floor"), [(30, 30), (61, 35)])
@pytest.mark.parametrize("across", [True, False])
def test_stripes_one_pixel_wide_stay_stripes(across: bool, quality: int, floor: int) -> None:
    stripes = np.zeros((96, 128), np.uint8)
    stripes[(slice(None), slice(None, None, 2)) if across else slice(None, None, 2)] = 255
    image = Image.fromarray(stripes).convert("RGB")
    assert psnr(image, lapic.decode(lapic.encode(image, quality))) > floor


def test_the_model_goes_by_the_quality(photo: Image.Image) -> None:
    small = photo.resize((90, 60))

    def model_at(quality: float, **options: str) -> str:
        return lapic.info(lapic.encode(small, quality, **options))["model"]["name"]

    for tune, name in (("eye", "eye"), ("psnr", "photo")):
        assert [model_at(quality, tune=tune) for quality in (1, HIGH_QUALITY)] == [name] * 2
        assert [model_at(quality, tune=tune) for quality in (HIGH_QUALITY + 1 / 256, 100)] == [f"{name}-high"] * 2
    for name in PAIRS:
        for tune in ("eye", "psnr"):
            assert [model_at(quality, model=name, tune=tune) for quality in (60, 61)] == [name, f"{name}-high"]
    assert model_at(90, model="photo-high") == "photo-high"


def test_a_model_serves_the_qualities_that_it_learned(photo: Image.Image) -> None:
    small, weights = photo.resize((90, 60)), str(WEIGHTS / "photo.safetensors")
    for model, quality in ((weights, 61), ("photo-high", 59)):
        with pytest.raises(lapic.Error, match=f"model photo.* is for qualities .*: quality {quality} needs another"):
            lapic.encode(small, quality, model=model)
    assert lapic.info(lapic.encode(small, model="photo-high", bpp=2.5, effort=0))["quality"] >= HIGH_QUALITY
    for model, bpp in ((weights, 8), ("photo-high", 0.1)):
        with pytest.raises(lapic.Error, match="cannot be reached: quality 60 gives"):
            lapic.encode(small, model=model, bpp=bpp, effort=0)


def test_a_name_that_stands_for_two_models_reaches_the_targets_of_both(photo: Image.Image) -> None:
    small = photo.resize((90, 60))
    for bpp, name in ((1.0, "photo"), (2.5, "photo-high")):
        data = lapic.encode(small, model="photo", bpp=bpp, effort=0)
        assert lapic.info(data)["model"]["name"] == name
        assert 8 * len(data) / (90 * 60) == pytest.approx(bpp, rel=0.03)


def test_info_adds_up(photo: Image.Image) -> None:
    photo = photo.copy()
    photo.info["xmp"] = b"<x/>" * 50
    data = lapic.encode(photo, 33.5, effort=0)
    found = lapic.info(data)
    assert (found["width"], found["height"], found["mode"], found["quality"]) == (451, 300, "RGB", 33.5)
    assert found["model"]["name"] == "eye"
    parts = found["bytes"]
    assert sum(size for part, size in parts.items() if part != "total") == parts["total"] == len(data)
    assert found["bpp"] == 8 * len(data) / (451 * 300)


def test_an_unknown_model_is_named(photo: Image.Image) -> None:
    header, tiles = bitstream.read(lapic.encode(photo, 50, effort=0))
    alien = bitstream.write(bitstream.Header(**{**vars(header), "model": b"\xde\xad\xbe\xef"}), tiles)
    with pytest.raises(lapic.Error, match="model deadbeef"):
        lapic.decode(alien)


def test_difference_helper_sees_a_difference(photo: Image.Image) -> None:
    assert difference(photo, photo) == 0
    assert difference(photo, photo.point(lambda value: min(value + 2, 255))) == 2
