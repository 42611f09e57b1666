"""Regions that matter: bits move there, everything else of the format works as before, and bad regions get one line."""

import dataclasses
import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageDraw, ImageFont

import lapic
from lapic import bitstream
from lapic.bitstream.container import QUALITY_MAP, Header
from lapic.codec.cli import main
from lapic.codec.command.jobs import EncodeJob, everywhere
from lapic.codec.encode import emphasis, encoder, filter_fit
from lapic.codec.encode.draft import Region
from lapic.codec.encode.objective import Objective
from lapic.codec.encode.rate import symbol_bits
from lapic.codec.exact import hyper
from lapic.codec.model.codec_weights import load
from lapic.codec.model.latents import features_of
from lapic.codec.picture import detect, roi, tensors
from tests.conftest import EXAMPLES, difference

REGION = (130, 70, 100, 80)
SETTINGS: dict[str, Any] = {"model": "photo", "tune": "psnr", "effort": 0}
HAS_OPENCV = pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="not installed: OpenCV")


def inside(image: Image.Image, region: tuple[int, ...] = REGION) -> np.ndarray:
    x, y, width, height = region[:4]
    mask = np.zeros(image.size[::-1], bool)
    mask[y : y + height, x : x + width] = True
    return mask


def psnrs(image: Image.Image, data: bytes) -> tuple[float, float]:
    """PSNR in the region and outside of it."""
    error = np.square(np.asarray(image, float) - np.asarray(lapic.decode(data)))
    mask = inside(image)
    return tuple(10 * np.log10(255**2 / error[part].mean()) for part in (mask, ~mask))


@pytest.fixture(scope="module")
def with_region(photo: Image.Image) -> bytes:
    return lapic.encode(photo, 30, roi=REGION, **SETTINGS)


@pytest.mark.parametrize("effort", [0, 2])
def test_bits_move_to_the_region(photo: Image.Image, effort: int) -> None:
    settings = SETTINGS | {"effort": effort}
    plain, emphasised = lapic.encode(photo, 30, **settings), lapic.encode(photo, 30, roi=REGION, **settings)
    assert abs(len(emphasised) / len(plain) - 1) < 0.03
    before, after = psnrs(photo, plain), psnrs(photo, emphasised)
    assert after[0] > before[0] + 1.2
    assert before[1] - 0.9 < after[1] < before[1]


def test_more_weight_gives_more(photo: Image.Image, with_region: bytes) -> None:
    light, heavy = (lapic.encode(photo, 30, roi=(*REGION, weight), **SETTINGS) for weight in (2, 12))
    found = [psnrs(photo, data) for data in (light, with_region, heavy)]
    assert found[0][0] < found[1][0] < found[2][0]
    assert found[0][1] > found[1][1] > found[2][1]


def test_a_white_rectangle_of_a_mask_is_that_rectangle(photo: Image.Image, with_region: bytes, tmp_path: Path) -> None:
    mask = Image.fromarray(inside(photo).astype(np.uint8) * 255)
    mask.save(tmp_path / "mask.png")
    for given in (mask, tmp_path / "mask.png", str(tmp_path / "mask.png"), [mask], "130,70,100,80", [REGION, REGION]):
        assert lapic.encode(photo, 30, roi=given, **SETTINGS) == with_region


@pytest.mark.parametrize("quality", [2, 30])
@pytest.mark.parametrize("heavy", [(*REGION, 100), (0, 0, 400, 280, 100)])
def test_a_region_never_makes_the_file_larger(photo: Image.Image, quality: int, heavy: tuple[int, ...]) -> None:
    plain, emphasised = (lapic.encode(photo, quality, roi=given, **SETTINGS) for given in (None, heavy))
    assert len(emphasised) < 1.02 * len(plain)


def test_only_ratios_of_weights_count(photo: Image.Image) -> None:
    small, places = photo.crop((100, 50, 292, 178)), (48, 32, 64, 48)  # whole places of 16 x 16 pixels
    data = lapic.encode(small, 30, roi=(*places, 4), **SETTINGS)
    assert lapic.encode(small, 30, roi=[(0, 0, *small.size, 4), (*places, 16)], **SETTINGS) == data
    offsets = np.frombuffer(bitstream.read_header(data).chunks[QUALITY_MAP], np.int8)
    assert offsets.min() == 0 < offsets.max()
    assert not (offsets % emphasis.GRAIN).any()


def test_no_map_is_written_where_it_says_nothing() -> None:
    model, slight = load(), np.array([[1.0, 1.1]])
    assert emphasis.chunk(model, 30, slight) == emphasis.chunk(model, 100, 40 * slight**9) == {}


def test_weights_are_lowered_no_further_than_needed(photo: Image.Image) -> None:
    small = photo.crop((100, 30, 356, 222))
    plain, heavy = (lapic.encode(small, 8, roi=given, **SETTINGS) for given in (None, (30, 40, 100, 80, 100)))
    header = bitstream.read_header(heavy)
    assert header.quality < 2
    assert 8 < np.frombuffer(header.chunks[QUALITY_MAP], np.int8).max() < 76  # of 100 times the weight: 78 qualities
    assert 0.98 * len(plain) < len(heavy) < 1.02 * len(plain)


def test_what_is_transparent_in_a_mask_counts_as_black(photo: Image.Image, with_region: bytes) -> None:
    mask = Image.new("RGBA", photo.size, (255, 255, 255, 0))
    mask.putalpha(Image.fromarray(inside(photo).astype(np.uint8) * 255))
    assert lapic.encode(photo, 30, roi=mask, **SETTINGS) == with_region


def test_half_transparent_white_counts_as_grey() -> None:
    grey = np.full((32, 48), 100, np.uint8)
    grey[:, :16] = 0
    mask = Image.new("RGBA", (48, 32), (255, 255, 255, 0))
    mask.putalpha(Image.fromarray(grey))
    for given in (mask, Image.fromarray(grey)):
        found = roi.weights_of(given, np.zeros((32, 48, 3), np.uint8))
        assert found == pytest.approx(np.array(2 * [[1, 1 + 3 * 100 / 255, 1 + 3 * 100 / 255]]))


def test_the_size_of_a_mask_is_compared_before_it_is_read(photo: Image.Image, tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("L", (900, 600), 255).save(out, "PNG")
    (tmp_path / "mask.png").write_bytes(out.getvalue()[:60])  # a header, and no pixels
    with pytest.raises(ValueError, match="the mask is of 900 x 600 pixels, the picture of 451 x 300"):
        lapic.encode(photo, 30, roi=tmp_path / "mask.png", **SETTINGS)


def test_a_mask_may_be_turned_by_its_orientation(photo: Image.Image, with_region: bytes, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = Image.fromarray(inside(photo).astype(np.uint8) * 255).transpose(Image.Transpose.ROTATE_90)
    mask.save(tmp_path / "mask.png", exif=exif)
    assert lapic.encode(photo, 30, roi=tmp_path / "mask.png", **SETTINGS) == with_region


def test_grey_counts_less_than_white(photo: Image.Image) -> None:
    mask = np.zeros((300, 451), np.uint8)
    mask[:, :150], mask[:, 300:] = 255, 100
    weights = roi.weights_of(Image.fromarray(mask), np.asarray(photo))
    assert weights is not None
    assert weights.shape == (19, 29)
    assert weights[0, [0, 12, 25]] == pytest.approx([4, 1, 1 + 3 * 100 / 255])
    assert weights[-1, -1] == pytest.approx(1 + 3 * 100 / 255)  # of 12 x 3 pixels


@pytest.mark.parametrize("nothing", [None, [], "white", (0, 0, 451, 300), (3, 3, 9, 9, 1)])
def test_where_all_is_alike_the_file_is_as_without(photo: Image.Image, nothing: Any) -> None:
    nothing = Image.new("L", photo.size, "white") if nothing == "white" else nothing
    data = lapic.encode(photo, 30, roi=nothing, **SETTINGS)
    assert data == lapic.encode(photo, 30, **SETTINGS)
    assert QUALITY_MAP not in bitstream.read_header(data).chunks
    assert lapic.info(data)["regions"] is None


def test_targets_hold(photo: Image.Image) -> None:
    data = lapic.encode(photo, size=3000, roi=REGION, **SETTINGS)
    assert 2850 < len(data) <= 3000
    assert QUALITY_MAP in bitstream.read_header(data).chunks
    data = lapic.encode(photo, psnr=33, roi=REGION, **SETTINGS)
    error = np.square(np.asarray(photo, float) - np.asarray(lapic.decode(data))).mean()
    assert abs(10 * np.log10(255**2 / error) - 33) < 0.15


def test_info_tells_of_regions(with_region: bytes) -> None:
    facts = lapic.info(with_region)
    assert facts["regions"] is not None
    assert facts["quality"] < 30 < facts["regions"]["quality"] == facts["quality"] + 24
    assert 0.05 < facts["regions"]["share"] < 0.15
    assert facts["bytes"]["QMAP"] < 60


def test_qualities_stay_where_the_model_is_sane(photo: Image.Image) -> None:
    facts = lapic.info(lapic.encode(photo, 58, roi=(*REGION, 100), **SETTINGS))
    assert facts["regions"]["quality"] <= 72


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> Image.Image:
    return photo.crop((100, 50, 305, 180))


@pytest.fixture(scope="module")
def tiled(small: Image.Image) -> bytes:
    """A file of eight tiles, of which some are finer in part."""
    return lapic.encode(small, 40, roi=(30, 30, 70, 60), tile=64, **SETTINGS)


@pytest.mark.parametrize("crop", [(0, 0, 50, 90), (101, 63, 77, 61)])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_part_is_that_of_the_whole(tiled: bytes, crop: tuple[int, int, int, int], scale: int) -> None:
    x, y, width, height = crop
    box = (x // scale, y // scale, -(-(x + width) // scale), -(-(y + height) // scale))
    whole = lapic.decode(tiled, scale=scale).crop(box)
    assert difference(lapic.decode(tiled, crop=crop, scale=scale), whole) <= 3


def test_tiles_search_and_lanes_decode(small: Image.Image, tiled: bytes) -> None:
    data = lapic.encode(small, 40, roi=(30, 30, 70, 60), lanes=True, **SETTINGS | {"effort": 2})
    searched, plain = (np.square(np.asarray(small, float) - np.asarray(lapic.decode(each))).mean()
                       for each in (data, tiled))  # fmt: skip
    assert searched < 1.2 * plain
    assert lapic.decode(data, realism=1).size == small.size


def test_salvage_keeps_the_other_tiles(tiled: bytes) -> None:
    whole = np.asarray(lapic.decode(tiled)).astype(int)
    header, tiles = bitstream.read(tiled)
    tiles[0] = dataclasses.replace(tiles[0], crc=tiles[0].crc ^ 1)
    found = lapic.salvage(bitstream.write(header, tiles))
    assert found.missing == [(0, 0, 64, 64)]
    assert np.abs(np.asarray(found.image)[:, 192:] - whole[:, 192:]).max() <= 3


def test_a_reader_that_does_not_know_the_map_refuses(with_region: bytes) -> None:
    header, tiles = bitstream.read(with_region)
    unknown = dataclasses.replace(header, chunks={b"QMAQ": header.chunks[QUALITY_MAP]})
    with pytest.raises(lapic.Error, match=r"chunk b'QMAQ' is unknown and critical"):
        lapic.decode(bitstream.write(unknown, tiles))


def test_a_map_of_another_size_is_refused(with_region: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    header, tiles = bitstream.read(with_region)
    short = dataclasses.replace(header, chunks={QUALITY_MAP: header.chunks[QUALITY_MAP][:-1]})
    with pytest.raises(ValueError, match="quality map"):
        bitstream.write(short, tiles)
    with monkeypatch.context() as patch:
        patch.setattr(Header, "check", lambda self: None)
        data = bitstream.write(short, tiles)
    for read in (lapic.decode, lapic.info, lapic.salvage):
        with pytest.raises(lapic.Error, match="the quality map has 550 places, not 551"):
            read(data)


def test_real_time_decoding_refuses_regions(photo: Image.Image) -> None:
    pytest.importorskip("triton")
    from lapic.codec.realtime import RealtimeDecoder

    data = lapic.encode(photo, 30, roi=REGION, **SETTINGS | {"tile": 0, "lanes": True})
    with pytest.raises(lapic.Error, match="not decoded in real time"):
        RealtimeDecoder(load("photo", "auto"), *photo.size)(data)


def test_one_quality_everywhere_is_that_quality_and_regions_keep_theirs() -> None:
    z = torch.from_numpy(np.random.default_rng(0).integers(-9, 10, (1, 96, 3, 6))).float()
    weights, qualities = load("photo").integers, torch.full((1, 10, 24), 9000)
    alone = [hyper.hyper_synthesis(z, torch.tensor([quality]), weights) for quality in (9000, 15000)]
    assert torch.equal(hyper.hyper_synthesis(z, qualities, weights), alone[0])
    qualities[..., 12:] = 15000
    mixed = hyper.hyper_synthesis(z, qualities, weights)
    assert torch.equal(mixed[..., :4], alone[0][..., :4])  # beyond what the filters see of the other half
    assert torch.equal(mixed[..., 20:], alone[1][..., 20:])
    assert not torch.equal(mixed[..., 8:16], alone[0][..., 8:16])


def test_the_search_weighs_errors_by_their_places(photo: Image.Image) -> None:
    """Deep inside a region gradients, costs and curvatures are those of a picture of its quality."""
    model, pixels = load("photo", dtype=torch.float32), np.asarray(photo.crop((0, 100, 451, 132)))
    bits = symbol_bits(model.tables)
    [(rect, latent)] = encoder.analyse(model, pixels, 0)
    picture = tensors.region(pixels, rect, model.device)
    mixed = torch.full((1, 2, 29), 7680)
    mixed[..., 14:] += 24 * 256
    coded = encoder.round_latents(model, latent, mixed)
    found = []
    for quality in (mixed, torch.tensor([7680]), torch.tensor([7680 + 24 * 256])):
        steps = latent * model.transforms.gain(quality)
        features = {rect: features_of(model, coded.z, quality, (2, 29))}
        objective = Objective.of(model, Region.whole(picture, (32, 451), steps, coded, quality), features, bits)
        steps.requires_grad_()
        made = objective.synthesise(steps)
        error = objective.error(made.detach())
        parts = objective.split(error)
        cost = objective.cost(error.clone(), parts, [coded.coded])
        found.append((cost, objective.gradient(made, steps, error, parts), objective.curvature(0.5).expand_as(steps)))
    for mixed_values, low, high in zip(*found, strict=True):
        assert torch.allclose(mixed_values[..., :5], low[..., :5], rtol=1e-3, atol=1e-4 * float(low.abs().max()))
        assert torch.allclose(mixed_values[..., 24:], high[..., 24:], rtol=1e-3, atol=1e-4 * float(high.abs().max()))
        assert not torch.allclose(mixed_values[..., 24:], low[..., 24:], rtol=0.1)


def test_the_filter_is_fitted_to_where_errors_count() -> None:
    generator = torch.Generator().manual_seed(0)
    picture, noise = (torch.rand((1, 3, 32, 64), generator=generator) - 0.5 for _ in range(2))
    weights = torch.ones(1, 1, 32, 64)
    weights[..., 32:] = 4
    apart = [filter_fit.statistics((picture + noise / 9)[..., part], picture[..., part], 1)
             for part in (slice(0, 34), slice(30, 64))]  # fmt: skip
    both = filter_fit.statistics(picture + noise / 9, picture, 1, weights)
    expected = apart[0].gram + 4 * apart[1].gram
    assert (both.gram.diagonal() / expected.diagonal() - 1).abs().max() < 0.2
    assert both.gram[0, 0] > 2 * filter_fit.statistics(picture + noise / 9, picture, 1).gram[0, 0]


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another size": (
        lambda folder: Image.new("L", (451, 299), "white"),
        "the mask is of 451 x 299 pixels, the picture",
    ),
    "black": (lambda folder: Image.new("L", (451, 300)), "the mask is black"),
    "outside": (lambda folder: "400,200,60,20", "region 400,200,60,20 is not within the 451 x 300 picture"),
    "negative": (lambda folder: "-1,0,20,20", "is not within"),
    "empty": (lambda folder: "5,5,0,20", "is not within"),
    "half": (lambda folder: "1,2,3.5,4", "four whole numbers"),
    "three": (lambda folder: "1,2,3", "a region is X,Y,W,H"),
    "too heavy": (lambda folder: "1,2,30,40,101", "the weight of a region 101"),
    "no numbers": (lambda folder: "a,b,c,d", "a region is X,Y,W,H"),
    "weight of nan": (lambda folder: "1,2,30,40,nan", "the weight of a region nan is outside 1 to 100"),
    "no file": (lambda folder: str(folder / "none.png"), "cannot read"),
    "no picture": (lambda folder: __file__, "the mask"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_region_gets_one_line(photo: Image.Image, tmp_path: Path, case: str) -> None:
    make, message = BAD[case]
    given = make(tmp_path)
    with pytest.raises((ValueError, lapic.Error), match=message):
        lapic.encode(photo, 30, roi=given, **SETTINGS)
    if isinstance(given, Image.Image):
        given.save(tmp_path / "mask.png")
        given = str(tmp_path / "mask.png")
    photo.save(tmp_path / "photo.png")
    command = ["encode", "-e", "0", "--roi", given, str(tmp_path / "photo.png"), str(tmp_path / "out.lapic")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert message in line
    assert not (tmp_path / "out.lapic").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (5, "a region is (x, y, width, height) with or without a weight, a mask or a word, not 5"),
        ((1, 2, 3), "a region is .* not 1"),
        ([(1, 2, 3)], "a region is .* not (1, 2, 3)"),
        ([object()], "a PIL.Image.Image is needed, not object"),
        ((1, 2, "x", 4), "a region is .* not 1"),
    ],
)
def test_what_is_no_region_is_refused(photo: Image.Image, wrong: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message.replace("(", r"\(").replace(")", r"\)")):
        lapic.encode(photo, 30, roi=wrong, **SETTINGS)


@pytest.mark.parametrize("kind", detect.KINDS)
def test_without_opencv_one_line_says_what_to_install(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(lapic.Error, match=r"pip install 'lapic\[roi\]'"):
        lapic.encode(photo, 30, roi=kind, **SETTINGS)


def test_pictures_that_are_read_row_by_row_have_no_regions(tmp_path: Path) -> None:
    from lapic.codec.command import large
    from lapic.codec.command.jobs import EncodeJob

    with pytest.raises(lapic.Error, match="roi need all of a picture at once"):
        large.encode(EncodeJob("map.tif", "map.lapic", roi=("1,1,9,9",)))


def test_one_bad_mask_stops_no_other_file(photo: Image.Image, tmp_path: Path) -> None:
    photo.crop((0, 0, 100, 80)).save(tmp_path / "a.png")
    photo.crop((0, 0, 60, 80)).save(tmp_path / "b.png")
    command = ["encode", "-e", "0", "--roi", "60,10,30,30", *(str(tmp_path / name) for name in ("a.png", "b.png"))]
    result = CliRunner().invoke(main, [*command, str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "region 60,10,30,30 is not within the 60 x 80 picture" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.lapic"]


@HAS_OPENCV
def test_a_face_is_found() -> None:
    with Image.open(EXAMPLES / "astronaut.png") as image:
        level = detect.found("faces", np.asarray(image.convert("RGB")))
    assert level.shape == (32, 32)
    assert level[5:9, 12:16].min() == 1  # eyes and nose
    assert level.mean() < 0.15


@HAS_OPENCV
def test_text_is_found() -> None:
    image = Image.new("RGB", (400, 240), (60, 90, 120))
    ImageDraw.Draw(image).text((96, 96), "Open from 8 to 18", "white", ImageFont.load_default(24))
    level = detect.found("text", np.asarray(image))
    assert level[6:8, 7:16].mean() > 0.7
    assert level.mean() < 0.25


@HAS_OPENCV
def test_auto_finds_what_stands_out() -> None:
    pixels = np.full((320, 320), 128, np.uint8)
    pixels[64:128, 192:256] = np.random.default_rng(0).integers(0, 256, (64, 64))
    level = detect.found("auto", pixels)
    assert level[5:7, 13:15].mean() > 3 * level.mean()


@HAS_OPENCV
@pytest.mark.parametrize("kind", detect.KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (300, 2), (1, 5000, 3), (5000, 5)])
def test_nothing_is_found_in_a_line(kind: str, shape: tuple[int, ...]) -> None:
    level = detect.found(kind, np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    assert level.shape == (-(-shape[0] // 16), -(-shape[1] // 16))
    assert not level.any()


@HAS_OPENCV
def test_noise_is_not_compared_letter_by_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    continues, compared, noise = detect._continues, [], np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    monkeypatch.setattr(detect, "_continues", lambda *both: compared.append(both) or continues(*both))
    letters = set(detect._letters(detect._opencv(), noise))
    detect.found("text", noise)
    assert 100 < len(compared) <= len(letters)


@HAS_OPENCV
def test_a_picture_without_faces_is_encoded_as_without(tmp_path: Path) -> None:
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "a.png")
    outputs = []
    for more in (["--roi", "faces"], []):
        result = CliRunner().invoke(
            main, ["encode", "-fe", "0", *more, str(tmp_path / "a.png"), str(tmp_path / "a.lapic")]
        )
        assert result.exit_code == 0
        assert ("no region stands out" in result.stderr) == bool(more)
        outputs.append((tmp_path / "a.lapic").read_bytes())
    assert outputs[0] == outputs[1]


def test_pillow_saves_with_regions(photo: Image.Image, with_region: bytes) -> None:
    lapic.register_pillow()
    target = io.BytesIO()
    photo.save(target, "LAPIC", quality=30, roi=REGION, **SETTINGS)
    assert target.getvalue() == with_region


def test_masks_are_found_from_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mask.png", "faces", "0,0,64,64"):
        (tmp_path / name).write_bytes(b"x")
    job = EncodeJob("a.png", "a.lapic", roi=("mask.png", "faces", "0,0,64,64", "none.png"))
    assert everywhere(job).roi == (str(tmp_path / "mask.png"), "faces", "0,0,64,64", "none.png")
