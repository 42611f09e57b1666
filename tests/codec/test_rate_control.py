import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import lapic
from lapic.bitstream import Header
from lapic.codec.cli import main
from lapic.codec.encode import trials
from lapic.codec.encode.target import SPARE_FILES, Stretch, encode_to_target
from lapic.codec.metrics import psnr
from lapic.codec.model.codec_weights import load
from lapic.codec.model.shipped import HIGH_QUALITY


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> Image.Image:
    return photo.crop((100, 30, 356, 222))


@pytest.mark.parametrize("size", [900, 2000, 5000, 12_000])
def test_size_is_never_exceeded_and_nearly_used(small: Image.Image, size: int) -> None:
    data = lapic.encode(small, size=size, effort=0)
    assert 0.98 * size <= len(data) <= size
    assert lapic.decode(data).size == small.size


@pytest.mark.parametrize("bpp", [0.15, 0.5, 1.5])
def test_bpp_is_that_of_the_file(small: Image.Image, bpp: float) -> None:
    assert 8 * len(lapic.encode(small, bpp=bpp, effort=0)) / (256 * 192) == pytest.approx(bpp, rel=0.02)


@pytest.mark.parametrize("decibel", [27.0, 31.0, 36.0])
def test_psnr_is_reached(small: Image.Image, decibel: float) -> None:
    found = lapic.decode(lapic.encode(small, psnr=decibel, effort=0, tune="psnr"))
    assert psnr(small, found) == pytest.approx(decibel, abs=0.1)


def test_psnr_is_reached_where_grey_came_as_rgb(small: Image.Image) -> None:
    grey = small.crop((0, 0, 96, 80)).convert("L").convert("RGB")
    found = lapic.decode(lapic.encode(grey, psnr=31, effort=1))
    assert found.mode == "RGB"
    assert psnr(grey, found) == pytest.approx(31, abs=0.1)


@pytest.mark.parametrize(("bpp", "model"), [(0.6, "eye"), (2.0, "eye-high")])
def test_it_is_the_file_of_that_quality(bpp: float, model: str, small: Image.Image) -> None:
    data = lapic.encode(small, bpp=bpp, tile=64, effort=1)
    assert lapic.info(data)["model"]["name"] == model
    assert data == lapic.encode(small, lapic.info(data)["quality"], tile=64, effort=1)


@pytest.mark.parametrize("target", ["size", "bpp", "psnr"])
def test_targets_between_two_models_files_are_reached(target: str, small: Image.Image) -> None:
    settings = {"effort": 0, "tune": "psnr"}
    below, above = (lapic.encode(small, quality, **settings) for quality in (HIGH_QUALITY, HIGH_QUALITY + 1 / 256))
    assert len(above) > 1.04 * len(below)
    middle = (len(below) + len(above)) // 2
    between = {"size": middle, "bpp": 8 * middle / (256 * 192)}
    between["psnr"] = np.mean([psnr(small, lapic.decode(data)) for data in (below, above)])
    data = lapic.encode(small, **settings, **{target: between[target]})
    assert lapic.info(data)["model"]["name"] == "photo"
    assert lapic.info(data)["quality"] > HIGH_QUALITY
    if target == "psnr":
        assert psnr(small, lapic.decode(data)) == pytest.approx(between["psnr"], abs=0.05)
    else:
        assert len(data) == pytest.approx(middle, rel=0.01)
    assert target != "size" or len(data) <= middle


@pytest.fixture(scope="module")
def noise() -> Image.Image:
    """A picture of which the model for low qualities makes worse ones at the qualities beyond its own."""
    field = np.random.default_rng(0).normal(128, 40, (24, 32, 3)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(field).resize((128, 96), Image.Resampling.BICUBIC)


def test_no_file_between_two_models_is_larger_and_worse(noise: Image.Image) -> None:
    below, above = (lapic.encode(noise, quality, effort=0) for quality in (HIGH_QUALITY, HIGH_QUALITY + 1 / 256))
    least, most = (psnr(noise, lapic.decode(data)) for data in (below, above))
    for part in (0.5, 0.9):
        target = least + part * (most - least)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = lapic.encode(noise, psnr=target, effort=0)
        found = psnr(noise, lapic.decode(data))
        missed = abs(found - target) > 0.1
        assert not missed or len(data) <= len(above)
        assert [str(warning.message)[:28] for warning in caught] == ["the target cannot be reached"] * missed


def test_each_models_analysis_runs_once(small: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = trials.analyse
    monkeypatch.setattr(trials, "analyse", lambda *given: calls.append(1) or real(*given))
    made = []
    code = trials.encode_latents
    monkeypatch.setattr(trials, "encode_latents", lambda *given, **settings: made.append(1) or code(*given, **settings))
    lapic.encode(small, size=12_000, effort=0)
    assert len(calls) == 2  # by each model
    assert 4 <= len(made) <= trials.DRAFTS


def test_metadata_count(small: Image.Image) -> None:
    image = small.copy()
    image.info["icc_profile"] = np.random.default_rng(0).bytes(1000)
    assert len(lapic.encode(image, size=4000, effort=0)) <= 4000


@pytest.mark.parametrize("effort", [0, 1])
def test_what_cannot_be_reached_is_said_with_the_nearest_that_can(small: Image.Image, effort: int) -> None:
    least, most = (lapic.encode(small, quality, effort=effort) for quality in (1, 100))
    bpp = [8 * len(data) / (256 * 192) for data in (least, most)]
    decibel = [psnr(small, lapic.decode(data)) for data in (least, most)]
    for target, sentence in (
        ({"size": 100}, f"quality 1 gives {len(least)} bytes, more than 100"),
        ({"size": len(least) - 1}, f"quality 1 gives {len(least)} bytes, more than {len(least) - 1}"),
        ({"bpp": 0.01}, f"quality 1 gives {bpp[0]:.3f} bpp, more than 0.01"),
        ({"bpp": 20}, f"quality 100 gives {bpp[1]:.3f} bpp, less than 20"),
        ({"psnr": 5}, f"quality 1 gives {decibel[0]:.2f} dB, more than 5"),
        ({"psnr": 60}, f"quality 100 gives {decibel[1]:.2f} dB, less than 60"),
    ):
        with pytest.raises(lapic.Error, match=f"cannot be reached: {sentence}$"):
            lapic.encode(small, **target, effort=effort)
    assert lapic.encode(small, size=len(least), effort=effort) == least


def test_a_large_size_out_of_reach_is_said_in_full() -> None:
    tried = trials.Trials(np.zeros((1, 1), np.uint8), trials.Target(size=1_234_567), 0, None, 0, False, "eye", print)
    found = trials.Trial(trials.Place(load, 1), 0.1, bytes(1_234_568))
    assert str(tried.refusal(found)).endswith("quality 1 gives 1234568 bytes, more than 1234567")


@pytest.mark.parametrize(
    ("target", "tune"),
    [({"size": 1500}, "psnr"), ({"size": 5000}, "eye"), ({"bpp": 0.3}, "psnr"), ({"bpp": 1.5}, "psnr"),
     ({"psnr": 29}, "eye"), ({"psnr": 38}, "psnr")],
)  # fmt: skip
def test_few_files_are_made_with_all_effort(
    small: Image.Image, target: dict, tune: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    code = trials.encode_latents

    def encode_latents(
        model: object, header: object, latents: object, pixels: object, effort: int, *rest: object
    ) -> bytes:
        made.append(effort)
        return code(model, header, latents, pixels, effort, *rest)

    monkeypatch.setattr(trials, "encode_latents", encode_latents)
    data = lapic.encode(small, **target, effort=2, tune=tune)
    assert set(made) <= {0, 2}
    assert 1 <= made.count(2) <= trials.FILES
    if "size" in target:
        assert 0.98 * target["size"] <= len(data) <= target["size"]
    elif "bpp" in target:
        assert 8 * len(data) / (256 * 192) == pytest.approx(target["bpp"], rel=0.02)
    else:
        assert made.count(0) == 0  # drafts are measured without being coded
        assert psnr(small, lapic.decode(data)) == pytest.approx(target["psnr"], abs=0.1)


def scattered(quality: int) -> float:
    return 1 + 0.05 * (quality * 2654435761 % 997) / 997


def mostly_larger(quality: int) -> float:
    return 1.03 if quality % 8 else 1.0


def in_steps(width: float, quality: int) -> float:
    """As if qualities were rounded up to multiples of a width."""
    return 1.04 ** (math.ceil(quality / 256 / width) * width - quality / 256)


STEP = 2000 * 1.04**30


@pytest.mark.parametrize(
    ("change", "sizes"),
    [
        (scattered, (3000, 9000, 20_000)),
        (mostly_larger, (9000, 11_000)),
        (partial(in_steps, 0.75), (round(STEP) - 3, round(0.985 * STEP))),
        (partial(in_steps, 1), (round(STEP) - 3, round(0.985 * STEP), round(0.95 * STEP))),
        (partial(in_steps, 3), (round(0.95 * STEP),)),
    ],
)
@pytest.mark.parametrize("kind", ["size", "bpp"])
def test_files_whose_sizes_scatter_around_the_drafts(
    change: Callable[[int], float], sizes: tuple[int, ...], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def encode_latents(_: object, header: Header, latents: object, pixels: object, effort: int, *rest: object) -> bytes:
        made.append(effort)
        return bytes(round(2000 * 1.04**header.quality * (change(round(256 * header.quality)) if effort else 1)))

    monkeypatch.setattr(trials, "encode_latents", encode_latents)
    monkeypatch.setattr(trials, "analyse", lambda *_: [])
    stretches = [Stretch(partial(load, "eye"), 1, 100)]
    for size in sizes:
        made.clear()
        wanted = trials.Target(size=size) if kind == "size" else trials.Target(bpp=size / 32)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = encode_to_target(stretches, np.zeros((16, 16, 3), np.uint8), wanted, 0, effort=2)
        off = abs(len(data) / size - 1)
        files = made.count(2)
        assert files == trials.FILES or (files < trials.FILES and off < 0.0101) or off > 0.015
        assert files <= trials.FILES + SPARE_FILES
        assert made.count(0) <= files + 2  # the logarithm of the size is a straight line here
        assert off < 0.07
        assert kind != "size" or len(data) <= size
        assert len(caught) == (kind == "bpp" and abs(np.log(len(data) / size)) > 0.02)


@pytest.mark.parametrize("at", [1.5, 5, 30, 70, 99])
@pytest.mark.parametrize(
    "logarithm",
    [
        lambda quality: 4 * (quality / 100) ** 4,
        lambda quality: 4 * min(1, quality / 20) + quality / 1000,
        lambda quality: max(0, quality - 80) / 5 + quality / 1000,
        math.log,
    ],
)
def test_few_drafts_find_the_size_where_its_curve_is_bent(
    logarithm: Callable[[float], float], at: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[float] = []

    def encode_latents(_: object, header: Header, *rest: object) -> bytes:
        made.append(header.quality)
        return bytes(round(1000 * math.exp(logarithm(header.quality))))

    monkeypatch.setattr(trials, "encode_latents", encode_latents)
    monkeypatch.setattr(trials, "analyse", lambda *_: [])
    size = round(1000 * math.exp(logarithm(at)))
    stretches = [Stretch(partial(load, "eye"), 1, 100)]
    data = encode_to_target(stretches, np.zeros((16, 16, 3), np.uint8), trials.Target(size=size), 0)
    assert 0.99 * size <= len(data) <= size
    assert len(made) == len(set(made)) <= 12
    made.clear()
    largest = encode_to_target(stretches, np.zeros((16, 16, 3), np.uint8), trials.Target(size=10**6), 0)
    assert len(largest) == round(1000 * math.exp(logarithm(100)))
    with pytest.raises(lapic.Error, match="quality 1 gives"):
        encode_to_target(stretches, np.zeros((16, 16, 3), np.uint8), trials.Target(size=500), 0)
    assert sorted(made) == [1, 1, 100, 100]  # the ends alone


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_drafts_psnr_is_that_of_its_file(photo: Image.Image, mode: str) -> None:
    image = photo.convert(mode)
    pixels = np.asarray(image)
    model = partial(load, "eye")
    tried = trials.Trials(pixels, trials.Target(psnr=1), 64, None, 0, False, "psnr", lambda *_: None)
    for quality in (10, 55):
        found = 1 + tried.draft(trials.Place(model, quality))
        data = lapic.encode(image, quality, tile=64, effort=0)
        assert found == pytest.approx(psnr(pixels, lapic.decode(data)), abs=0.02)


@pytest.mark.parametrize("target", [{"size": 3000}, {"bpp": 0.5}, {"psnr": 30}])
@pytest.mark.parametrize("effort", [0, 1])
def test_progress_is_told(small: Image.Image, target: dict, effort: int) -> None:
    told: list[tuple[int, int]] = []
    lapic.encode(small, **target, effort=effort, progress=lambda done, total: told.append((done, total)))
    done = [steps for steps, _ in told]
    assert len(done) > 3
    assert done == sorted(set(done))
    assert {total for _, total in told} == {done[-1]}
    assert done[0] >= 1


def test_pictures_without_any_error(small: Image.Image) -> None:
    flat = Image.new("RGB", (64, 64), (128, 128, 128))
    for target in ({"size": 5000}, {"psnr": 40}):
        try:
            assert lapic.decode(lapic.encode(flat, **target, effort=0)).size == (64, 64)
        except lapic.Error as error:
            assert "cannot be reached: quality 1 gives" in str(error)


def test_a_size_above_the_largest_file_gives_the_largest(small: Image.Image) -> None:
    assert lapic.encode(small, size=10_000_000, effort=0) == lapic.encode(small, 100, effort=0)


@pytest.mark.parametrize("target", [{"size": 0}, {"bpp": -1.0}, {"size": 100, "bpp": 1.0}])
def test_targets_that_are_none(small: Image.Image, target: dict) -> None:
    with pytest.raises(ValueError, match="one target"):
        lapic.encode(small, **target)


def test_on_the_command_line(small: Image.Image, tmp_path: Path) -> None:
    small.save(tmp_path / "a.png")
    names = [str(tmp_path / "a.png"), str(tmp_path / "a.lapic")]
    result = CliRunner().invoke(main, ["encode", *names, "--size", "3k"])
    assert result.exit_code == 0, result.output
    assert "quality " in result.stderr
    assert 2940 <= (tmp_path / "a.lapic").stat().st_size <= 3000
    assert CliRunner().invoke(main, ["encode", *names, "--size", "much"]).exit_code == 2
    for two in (["--size", "3k", "--bpp", "1"], ["-q", "50", "--psnr", "35"]):
        refused = CliRunner().invoke(main, ["encode", *names, *two])
        assert refused.exit_code == 2
        assert "--quality, --size, --bpp and --psnr exclude each other" in refused.stderr
