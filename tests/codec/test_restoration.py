import io
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageCms, ImageFilter

import lapic
from lapic.codec.cli import main
from lapic.codec.metrics import psnr
from lapic.codec.model.translator_weights import LoadedTranslator, load, read, save
from lapic.codec.nets.lptn import LPTN
from lapic.codec.nets.translator import Translator, TranslatorConfig
from lapic.codec.picture import tiling
from lapic.codec.restore import restoration, translation
from lapic.codec.restore.restoration import noise_level
from lapic.codec.restore.translation import grey_density, translate_pixels
from tests.conftest import detail


def jpeg(image: Image.Image, quality: int, **options: object) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, **options)
    return Image.open(out)


def noisy(image: Image.Image, sigma: float) -> Image.Image:
    values = np.asarray(image) + np.random.default_rng(0).normal(0, sigma, np.asarray(image).shape)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def test_jpeg_at_many_qualities_comes_nearer_to_its_original(photo: Image.Image) -> None:
    for image in (photo, photo.convert("L")):
        for quality, least in ((10, 0.7), (30, 0.5), (60, 0.3), (90, 0.0)):
            damaged = jpeg(image, quality)
            assert psnr(image, lapic.restore(damaged)) - psnr(image, damaged) > least, quality


def test_noise_goes(photo: Image.Image) -> None:
    damaged = noisy(photo, 25)
    assert psnr(photo, lapic.restore(damaged, "denoise")) - psnr(photo, damaged) > 8


def test_blur_goes(photo: Image.Image) -> None:
    damaged = photo.filter(ImageFilter.GaussianBlur(1.6))
    assert psnr(photo, lapic.restore(damaged, "deblur")) - psnr(photo, damaged) > 1


@pytest.mark.parametrize("scale", [2, 4])
def test_upscaling_beats_bicubic(scale: int, photo: Image.Image) -> None:
    photo = photo.crop((0, 0, 448, 296))
    small = photo.resize((photo.width // scale, photo.height // scale), Image.Resampling.BICUBIC)
    bicubic, ours = small.resize(photo.size, Image.Resampling.BICUBIC), lapic.restore(small, "upscale", scale=scale)
    assert psnr(photo, ours) - psnr(photo, bicubic) > 0.4


def test_strength_is_a_dial(photo: Image.Image) -> None:
    damaged = jpeg(photo, 10)
    none, half, full = (np.asarray(lapic.restore(damaged, strength=s), dtype=float) for s in (0, 0.5, 1))
    assert np.abs(none - np.asarray(damaged)).max() <= 1
    assert np.abs(half - (none + full) / 2).max() <= 2
    assert np.abs(full - none).max() > 10


def test_the_realistic_look_has_the_detail_of_a_photo(photo: Image.Image, tmp_path: Path) -> None:
    half = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.BICUBIC)
    blurred = photo.filter(ImageFilter.GaussianBlur(1.6))
    for task, image in (
        ("jpeg", jpeg(photo, 10)),
        ("denoise", noisy(photo, 25)),
        ("deblur", blurred),
        ("upscale", half),
    ):
        faithful, realistic = (lapic.restore(image, task, look=look) for look in ("faithful", "realistic"))
        wanted = detail(photo.crop((0, 0, *faithful.size)))
        assert abs(detail(realistic) - wanted) < abs(detail(faithful) - wanted), task
        assert psnr(faithful, realistic) > 26, task
    image = jpeg(photo, 10)
    image.convert("RGB").save(tmp_path / "in.png")
    arguments = ["--task", "jpeg", "--look", "realistic", str(tmp_path / "in.png"), str(tmp_path / "out.png")]
    assert CliRunner().invoke(main, ["restore", *arguments]).exit_code == 0
    expected = lapic.restore(image, "jpeg", look="realistic")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(expected))


def test_auto_looks_at_the_file_and_the_noise(photo: Image.Image) -> None:
    for image, task in ((jpeg(noisy(photo, 30), 80), "jpeg"), (photo, "jpeg"), (noisy(photo, 30), "denoise")):
        pixels = np.asarray(image)
        assert restoration.pick_task(restoration.is_lossy(image), pixels) == task
        assert np.array_equal(np.asarray(lapic.restore(image)), np.asarray(lapic.restore(image, task)))


@pytest.mark.parametrize(
    ("format_name", "options", "lossy"),
    [
        ("WEBP", {"quality": 80}, True),
        ("WEBP", {"lossless": True}, False),
        ("WEBP", {"lossless": True, "save_all": True, "append_images": [Image.new("RGB", (64, 48))]}, False),
        ("TIFF", {"compression": "jpeg"}, True),
        ("TIFF", {"compression": "tiff_lzw"}, False),
        ("JPEG2000", {}, True),
        ("PNG", {}, False),
    ],
)
def test_lossy_files_are_told_from_lossless_ones(
    format_name: str, options: dict, lossy: bool, photo: Image.Image, tmp_path: Path
) -> None:
    image = noisy(photo.crop((0, 0, 64, 48)), 30)
    suffix = {"WEBP": ".webp", "TIFF": ".tif", "JPEG2000": ".jp2", "PNG": ".png"}[format_name]
    image.save(tmp_path / f"a{suffix}", format_name, **options)
    opened = Image.open(tmp_path / f"a{suffix}")
    assert restoration.is_lossy(opened) == lossy
    made = lapic.restore(opened)
    assert made == lapic.restore(Image.open(tmp_path / f"a{suffix}"), "jpeg" if lossy else "denoise")
    result = CliRunner().invoke(main, ["restore", str(tmp_path / f"a{suffix}"), str(tmp_path / "b.png")])
    assert result.exit_code == 0, result.output
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), np.asarray(made))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("task", ["jpeg", "upscale"])
def test_hidden_colours_do_not_reach_visible_ones(mode: str, task: str, photo: Image.Image) -> None:
    alpha = Image.new("L", (96, 64), 255)
    alpha.paste(0, (40, 20, 70, 50))
    made = []
    for hidden in ("black", "white"):
        image = photo.crop((100, 50, 196, 114))
        image.paste(hidden, (40, 20, 70, 50))
        image = image.convert(mode[:-1])
        image.putalpha(alpha)
        restored = lapic.restore(image, task)
        made.append(np.asarray(restored))
        if task == "jpeg":
            assert np.array_equal(made[-1][20:50, 40:70], np.asarray(image)[20:50, 40:70])
    seen = made[0][..., -1] > 0
    assert np.array_equal(made[0][seen], made[1][seen])


@pytest.mark.parametrize("sigma", [5, 20, 40])
def test_noise_is_measured(sigma: float, photo: Image.Image) -> None:
    assert noise_level(np.asarray(noisy(photo, sigma))) == pytest.approx(sigma, rel=0.25)
    assert noise_level(np.asarray(photo)) < 4
    assert noise_level(np.zeros((1, 1, 3), np.uint8)) == 0


def test_a_picture_in_pieces_is_the_whole_picture(monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> None:
    pixels = np.asarray(photo.resize((700, 500)))
    whole = restoration.restore_pixels(pixels, "jpeg", "cpu")
    monkeypatch.setattr(translation, "PIECE", 256 // tiling.LATENT)
    steps: list[tuple[int, int]] = []
    pieces = restoration.restore_pixels(pixels, "jpeg", "cpu", progress=lambda *step: steps.append(step))
    assert np.abs(whole.astype(int) - pieces).max() <= 1
    assert steps == [(n, 6) for n in range(1, 7)]


def test_two_doublings_are_one_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "PIECE", 48 // tiling.LATENT)
    steps: list[tuple[int, int]] = []
    made = lapic.restore(Image.new("L", (32, 16)), "upscale", scale=4, progress=lambda *step: steps.append(step))
    assert made.size == (128, 64)
    assert steps == [(n, 8) for n in range(1, 9)]


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (333, 7), (17, 16)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "I;16"])
def test_every_mode_and_size(size: tuple[int, int], mode: str) -> None:
    image = Image.new("RGBA", size, (200, 100, 50, 128)).convert("L" if mode == "I;16" else mode)
    image = Image.new("I;16", size) if mode == "I;16" else image
    expected = {"P": "RGBA" if image.has_transparency_data else "RGB", "1": "L", "CMYK": "RGB", "I;16": "L"}
    for made, factor in ((lapic.restore(image), 1), (lapic.restore(image, "upscale"), 2)):
        assert made.size == (factor * size[0], factor * size[1])
        assert made.mode == expected.get(mode, mode)
        if made.mode.endswith("A"):
            assert set(made.getchannel("A").tobytes()) == {128}


def test_metadata_survive_and_orientation_is_applied_once(photo: Image.Image, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    photo.save(tmp_path / "in.jpg", quality=30, exif=exif, icc_profile=profile)
    result = CliRunner().invoke(main, ["restore", str(tmp_path / "in.jpg"), str(tmp_path / "out.png")])
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out.png") as found:
        assert found.size == (photo.height, photo.width)
        assert found.info["icc_profile"] == profile
        assert found.getexif()[0x010F] == "Camera"
        assert found.getexif()[0x0112] == 1


def test_folders_in_folders_out(photo: Image.Image, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.jpg"):
        photo.crop((0, 0, 64, 48)).save(tmp_path / "in" / name, quality=20)
    (tmp_path / "in" / "c.jpg").write_bytes(b"no picture")
    arguments = ["restore", str(tmp_path / "in"), str(tmp_path / "out"), "-r", "--task", "upscale"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "c.jpg: not a picture" in result.output
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert found == ["a.png", "deep/b.png"]
    assert Image.open(tmp_path / "out" / "a.png").size == (128, 96)


@pytest.mark.parametrize(
    ("command", "options", "reason"),
    [
        ("restore", ["--task", "upscale", "--scale", "4", "--max-pixels", "50000"], "--max-pixels"),
        ("restore", ["--max-pixels", "100"], "--max-pixels"),
        ("translate", ["--model", "grey:often"], "positive number"),
        ("translate", ["--model", "nothing.safetensors"], "cannot be read"),
        ("translate", ["--model", "camera"], "denoise, deblur"),
        ("translate", ["--model", "photo"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_ends_in_one_line(
    command: str, options: list[str], reason: str, photo: Image.Image, tmp_path: Path
) -> None:
    photo.crop((0, 0, 64, 64)).save(tmp_path / "in.png")
    result = CliRunner().invoke(main, [command, str(tmp_path / "in.png"), str(tmp_path / "out.png"), *options])
    assert result.exit_code == 1
    assert reason in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "wrong", [{"task": "sharpen"}, {"strength": 1.5}, {"task": "upscale", "scale": 3}, {"look": "pretty"}]
)
def test_wrong_arguments(wrong: dict, photo: Image.Image) -> None:
    with pytest.raises(ValueError, match=r"sharpen|strength|scale|pretty"):
        lapic.restore(photo, **wrong)


def test_grey_density(photo: Image.Image, tmp_path: Path) -> None:
    expected = np.clip(np.round(np.asarray(photo).mean(axis=2) * 1.3), 0, 255)
    assert np.array_equal(grey_density(np.asarray(photo), 1.3), expected)
    photo.save(tmp_path / "in.png")
    arguments = ["translate", str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--model", "grey:1.3"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), expected)


def test_grey_density_has_a_strength(photo: Image.Image) -> None:
    small = photo.crop((0, 0, 64, 48))
    whole = np.asarray(lapic.translate(small, "grey:1.3")).astype(float)[..., None]
    assert lapic.translate(small, "grey:1.3", strength=0) == small
    half = np.asarray(lapic.translate(small, "grey:1.3", strength=0.5))
    assert np.abs(half - (whole + np.asarray(small)) / 2).max() <= 1
    grey = small.convert("L")
    assert lapic.translate(grey, "grey:1.3", strength=0) == grey


def test_lptn_sees_the_whole_picture_at_any_size(photo: Image.Image, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = LPTN().eval()
    save(tmp_path / "lptn.safetensors", net, {})
    pixels = np.asarray(photo)
    made = np.asarray(lapic.translate(photo, str(tmp_path / "lptn.safetensors")))
    whole = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = ((net(whole)[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).numpy()
    assert np.abs(expected - made).max() < 3
    with pytest.raises(lapic.Error, match="too small"):
        lapic.translate(photo.crop((0, 0, 5, 5)), str(tmp_path / "lptn.safetensors"))


def test_damaged_translator_weights_are_refused(tmp_path: Path) -> None:
    config = TranslatorConfig(tasks=("a",), widths=(16, 24), blocks=(1, 1))
    path = tmp_path / "t.safetensors"
    save(path, Translator(config), {"steps": "3"})
    assert read(str(path))[1] == {"steps": "3"}
    path.write_bytes(path.read_bytes().replace(b"[16, 24]", b"[16, 40]"))
    with pytest.raises(lapic.Error, match="damaged"):
        read(str(path))


def test_half_precision_shows_in_no_more_than_a_few_grey_levels(photo: Image.Image) -> None:
    pixels = np.asarray(jpeg(photo, 20).convert("RGB"))
    exact: LoadedTranslator = load("jpeg", dtype=torch.float32)
    half: LoadedTranslator = load("jpeg", dtype=torch.bfloat16)
    a, b = (translate_pixels(one, pixels, "jpeg").astype(int) for one in (exact, half))
    assert np.abs(a - b).mean() < 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_restores_alike(photo: Image.Image) -> None:
    damaged = jpeg(photo, 20)
    a, b = (np.asarray(lapic.restore(damaged, device=device)).astype(int) for device in ("cpu", "cuda"))
    assert np.abs(a - b).mean() < 0.5
