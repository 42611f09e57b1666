import csv
import dataclasses
import http.client
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import lapic
from lapic.codec.cli import main
from lapic.codec.compat import import_torchvision
from lapic.codec.evaluation import butteraugli, codecs, evaluate, measure
from lapic.codec.evaluation.matching import quality_at_size
from lapic.codec.evaluation.metrics import lpips_model
from lapic.codec.evaluation.results import versions_of
from lapic.codec.metrics import psnr
from lapic.codec.picture.drawn import is_drawn

SMALL = ["--qualities", "lapic=20,50,80", "--qualities", "jpeg=10,50,90", "--metrics", "psnr,ms_ssim"]


def run_lapic(*arguments: object) -> tuple[int, str]:
    found = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return found.exit_code, found.output


@pytest.fixture(scope="module")
def pictures(photo: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos of 256 x 192, and one that is too wide for WebP."""
    folder = tmp_path_factory.mktemp("pictures")
    photo.crop((0, 0, 256, 192)).save(folder / "left.png")
    photo.crop((150, 100, 406, 292)).save(folder / "right.png")
    return folder


@pytest.fixture(scope="module")
def evaluated(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated")
    code, text = run_lapic("evaluate", pictures, "--out", out, "--codecs", "lapic,jpeg", *SMALL, "--published")
    assert code == 0, text
    assert "BD-rate of lapic against JPEG (4:2:0)" in text
    return out


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the fresh processes that measure memory, where nobody reads their figures."""
    monkeypatch.setattr("lapic.codec.evaluation.evaluate._memory", lambda *_: {})


@pytest.fixture
def no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the download of LPIPS' backbone fail."""

    def download(*_: object, **__: object) -> None:
        raise OSError("offline")

    import_torchvision()
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", download)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    lpips_model.cache_clear()


def test_files_are_encoded_once_for_every_realism(photo: Image.Image, tmp_path: Path, no_memory: None) -> None:
    photo.crop((0, 0, 128, 96)).save(tmp_path / "photo.png")
    asked = ["--codecs", "lapic@r1", "--realism", "0.5,1", "--qualities", "lapic=20", "--metrics", "psnr"]
    code, text = run_lapic("evaluate", tmp_path / "photo.png", "--out", tmp_path / "out", "--no-report", *asked)
    assert code == 0, text
    whole, half = json.loads((tmp_path / "out" / "results.json").read_text())["points"]
    assert [path.name for path in (tmp_path / "out" / "files").iterdir()] == ["lapic"]
    assert (whole["file"], whole["encode_s"]) == (half["file"], half["encode_s"])
    assert (whole["codec"], half["codec"]) == ("lapic@r1", "lapic@r0.5")
    assert whole["psnr"] < half["psnr"]


def test_points_are_those_of_real_files(pictures: Path, evaluated: Path) -> None:
    points = json.loads((evaluated / "results.json").read_text())["points"]
    assert len(points) == 12
    for point in points:
        file = evaluated / point["file"]
        original = np.asarray(Image.open(pictures / f"{point['picture']}.png"))
        if point["codec"] == "lapic":
            assert lapic.info(file.read_bytes())["quality"] == point["quality"]
            decoded = lapic.decode(file.read_bytes())
        else:
            decoded = Image.open(file)
        assert point["bytes"] == file.stat().st_size
        assert point["bpp"] == pytest.approx(8 * file.stat().st_size / (256 * 192))
        assert point["psnr"] == pytest.approx(psnr(original, decoded), abs=0.02)
        assert min(point["encode_s"], point["decode_s"]) > 0


def test_the_table_holds_what_the_json_holds(evaluated: Path) -> None:
    results = json.loads((evaluated / "results.json").read_text())
    with (evaluated / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["psnr"]) for row in rows] == [point["psnr"] for point in results["points"]]
    assert results["command"].startswith("lapic")
    assert 1 < results["memory"]["lapic"]["decode_mib"] < 2000
    assert set(results["memory"]) == {"lapic", "jpeg"}
    assert results["machine"]["cores"] >= 1
    model = lapic.info((evaluated / results["points"][0]["file"]).read_bytes())["model"]
    assert f"{model['name']} {model['id']}" in results["versions"]["lapic"]


def test_peers_are_shown_at_the_same_size(pictures: Path, evaluated: Path) -> None:
    looks = json.loads((evaluated / "results.json").read_text())["same_size"]
    size = {(look["picture"], look["codec"]): look for look in looks}
    for picture in ("left", "right"):
        limit, peer = size[picture, "lapic"]["bytes"], size[picture, "jpeg"]
        assert peer["bytes"] <= limit or peer["quality"] == 1
        original = np.asarray(Image.open(pictures / f"{picture}.png"))
        assert len(codecs.make("jpeg").encode(original, peer["quality"] + 1)) > limit


def test_plots_are_drawn(evaluated: Path) -> None:
    for name in ("rd-psnr", "rd-ms-ssim-db", "bd-over-kmac", "bd-over-decode"):
        assert (evaluated / f"{name}.svg").read_text().startswith("<?xml")
        assert Image.open(evaluated / f"{name}.png").width > 500


def test_a_second_run_measures_only_what_is_new(pictures: Path, evaluated: Path) -> None:
    cache = evaluated / "points.jsonl"
    before, results = cache.read_text(), json.loads((evaluated / "results.json").read_text())
    assert run_lapic("evaluate", pictures, "--out", evaluated, "--codecs", "lapic,jpeg", *SMALL)[0] == 0
    assert cache.read_text() == before
    again = json.loads((evaluated / "results.json").read_text())
    assert again["points"] == results["points"]
    more = ["lapic,jpeg", *SMALL[:2], "--qualities", "jpeg=10,30,50,90", *SMALL[4:]]
    assert run_lapic("evaluate", pictures, "--out", evaluated, "--codecs", *more, "--no-report")[0] == 0
    kept = [line for line in cache.read_text().splitlines() if "memory" not in line]
    assert len(kept) == len([line for line in before.splitlines() if "memory" not in line]) + 2


def test_metrics_are_added_to_what_is_known(pictures: Path, tmp_path: Path, no_memory: None) -> None:
    """The files stay as they are, and figures that were not asked for are not told."""

    def points_with(metrics: str) -> list[dict]:
        asked = ["--codecs", "jpeg", "--qualities", "jpeg=30,60", "--metrics", metrics, "--jobs", 1, "--no-report"]
        assert run_lapic("evaluate", pictures, "--out", tmp_path, *asked)[0] == 0
        return json.loads((tmp_path / "results.json").read_text())["points"]

    first = points_with("psnr")
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "files").rglob("*.jpg")}
    both = points_with("ms_ssim,psnr")
    assert made == {file: file.stat().st_mtime_ns for file in (tmp_path / "files").rglob("*.jpg")}
    assert all("ms_ssim_db" in point for point in both)
    assert [{key: point[key] for key in one} for point, one in zip(both, first, strict=True)] == first
    lines = (tmp_path / "points.jsonl").read_text()
    assert points_with("psnr") == first
    assert points_with("psnr,ms_ssim") == both
    assert (tmp_path / "points.jsonl").read_text() == lines


def test_another_backbone_of_lpips_is_another_metric(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(name.encode())
    versions = [versions_of(("psnr", "lpips"), net, path) for net, path in (
        ("squeeze", None), ("alex", None), ("squeeze", tmp_path / "one"), ("squeeze", tmp_path / "other"),
    )]  # fmt: skip
    assert len({version["lpips"] for version in versions}) == 4
    assert len({version["psnr"] for version in versions}) == 1


def test_pictures_of_one_name_have_files_of_their_own(pictures: Path, tmp_path: Path, no_memory: None) -> None:
    """The first one's points come from the cache the second time, and so do its files."""
    asked = ["--out", tmp_path / "out", "--codecs", "jpeg", "--qualities", "jpeg=30,60", "--metrics", "psnr"]
    for name in ("left", "right", "left"):
        (tmp_path / name).mkdir(exist_ok=True)
        shutil.copy(pictures / f"{name}.png", tmp_path / name / "picture.png")
        code, text = run_lapic("evaluate", tmp_path / name / "picture.png", *asked, "--jobs", 1, "--no-report")
        assert code == 0, text
        original = np.asarray(Image.open(pictures / f"{name}.png"))
        for point in json.loads((tmp_path / "out" / "results.json").read_text())["points"]:
            file = tmp_path / "out" / point["file"]
            assert file.name.startswith(f"picture-{point['quality']:g}-")
            assert file.stat().st_size == point["bytes"]
            assert psnr(original, np.asarray(Image.open(file))) == pytest.approx(point["psnr"], abs=0.02)


def test_a_picture_that_is_named_twice_is_measured_once(pictures: Path, tmp_path: Path, no_memory: None) -> None:
    (tmp_path / "link.png").symlink_to(pictures / "right.png")
    code, text = run_lapic(
        "evaluate", pictures / "left.png", pictures, tmp_path / "link.png", "--out", tmp_path / "out", "--codecs",
        "jpeg", "--qualities", "jpeg=30", "--metrics", "psnr,ms_ssim", "--no-report",
    )  # fmt: skip
    assert code == 0, text
    points = json.loads((tmp_path / "out" / "results.json").read_text())["points"]
    assert [point["picture"] for point in points] == ["left", "right"]


def test_what_is_left_out_of_the_means_is_said(photo: Image.Image, tmp_path: Path, no_memory: None) -> None:
    photo.crop((0, 0, 64, 48)).save(tmp_path / "tiny.png")
    photo.crop((0, 0, 200, 170)).save(tmp_path / "enough.png")
    some = ["--qualities", "jpeg=30", "--qualities", "webp=30", "--metrics", "psnr,ms_ssim", "--jobs", 1]
    code, text = run_lapic("evaluate", tmp_path, "--out", tmp_path / "out", "--codecs", "jpeg,webp", *some)
    assert code == 0, text
    remark = "MS-SSIM is not in means, plots and tables: it has no figure for tiny"
    assert remark in text.splitlines()
    assert remark in (tmp_path / "out" / "report.html").read_text()
    assert "against WebP (4:2:0)" in text
    assert "-  (fewer than two points)" in text


def test_a_failing_codec_costs_its_points_only(pictures: Path, tmp_path: Path, no_memory: None) -> None:
    wide = tmp_path / "wide.png"
    Image.new("RGB", (16400, 16), (90, 120, 40)).save(wide)  # WebP ends at 16383
    some = ["--qualities", "webp=10,60", "--qualities", "jpeg=10,60", "--metrics", "psnr", "--no-report"]
    code, text = run_lapic(
        "evaluate", wide, pictures / "left.png", "--out", tmp_path / "out", "--codecs", "jpeg,webp", *some
    )
    assert code == 1, text
    assert "WebP (4:2:0) failed on wide at quality 10" in text
    points = json.loads((tmp_path / "out" / "results.json").read_text())["points"]
    assert [("error" in p) for p in points] == [p["picture"] == "wide" and p["codec"] == "webp" for p in points]


def test_a_broken_picture_is_named_and_the_others_are_measured(pictures: Path, tmp_path: Path, no_memory: None) -> None:
    three, out = tmp_path / "three", tmp_path / "out"
    shutil.copytree(pictures, three)
    (three / "half.png").write_bytes((three / "left.png").read_bytes()[:3000])
    (three / "._left.png").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    asked = ["--codecs", "jpeg", "--qualities", "jpeg=10,60", "--metrics", "psnr", "--no-report", "--jobs", 1]
    for _ in range(2):  # the second time most comes from the cache
        result = CliRunner().invoke(main, [str(part) for part in ("evaluate", three, "--out", out, *asked)])
        assert result.exit_code == 1
        lines = result.stderr.splitlines()
        assert lines[0] == "1 file left out: 1 hidden"
        assert [line for line in lines if line.startswith("lapic: ")] == lines[1:]
        assert len(lines) == 2
        assert lines[1].startswith(f"lapic: {three}/half.png: the picture is damaged")
    results = json.loads((out / "results.json").read_text())
    assert {point["picture"] for point in results["points"]} == {"left", "right"}
    assert len(results["curves"][0]["bpp"]) == 2
    assert list(results["unreadable"]) == [f"{three}/half.png"]


def test_pictures_that_cannot_even_be_opened(pictures: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    result = CliRunner().invoke(main, ["evaluate", str(tmp_path / "pipe.png"), "--out", str(tmp_path / "out"),
                                       "--codecs", "jpeg", "--metrics", "psnr"])  # fmt: skip
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"lapic: cannot read {tmp_path}/pipe.png: it is no regular file",
        "lapic: none of the pictures can be measured",
    ]


def test_when_nothing_can_be_measured_one_line_ends_it(tmp_path: Path) -> None:
    Image.new("RGB", (16400, 16), (90, 120, 40)).save(tmp_path / "wide.png")
    some = ["--codecs", "webp", "--qualities", "webp=10", "--metrics", "psnr"]
    code, text = run_lapic("evaluate", tmp_path / "wide.png", "--out", tmp_path / "out", *some)
    assert code == 1
    assert text.splitlines()[-1] == "lapic: no codec made a file of every picture"


def test_missing_codecs_and_metrics_are_skipped_with_a_word(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_memory: None, no_backbone: None
) -> None:
    def nothing_there(threads: int) -> codecs.Codec:
        raise codecs.Unavailable("pip install nothing")

    monkeypatch.setitem(codecs.MAKERS, "heic", nothing_there)
    codecs.make.cache_clear()
    code, text = run_lapic(
        "evaluate", pictures / "left.png", "--out", tmp_path, "--codecs", "jpeg,heic", "--qualities", "jpeg=50",
        "--qualities", "heic=50", "--metrics", "psnr,lpips", "--no-report",
    )  # fmt: skip
    assert code == 0, text
    assert "heic is skipped: pip install nothing" in text
    assert "lpips is skipped: LPIPS has no backbone (offline)" in text


def test_interrupted_and_resumed(pictures: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lapic.codec.cli",
        "evaluate",
        str(pictures),
        "--out",
        str(tmp_path),
        "--jobs",
        "1",
    ]
    command += ["--codecs", "jpeg", "--qualities", "jpeg=" + ",".join(map(str, range(1, 96, 2))), "--metrics", "psnr"]
    process = subprocess.Popen([*command, "--no-report"], stderr=subprocess.PIPE, text=True)
    cache = tmp_path / "points.jsonl"
    while not (cache.exists() and len(cache.read_text().splitlines()) > 3):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    kept = cache.read_text()
    if process.returncode != 0:  # it may have been quicker than the signal
        assert process.returncode == 130
        assert "interrupted" in error.splitlines()[-1]
        assert "Traceback" not in error
    assert subprocess.run([*command, "--no-report"], capture_output=True).returncode == 0
    assert cache.read_text().startswith(kept)
    assert len([line for line in cache.read_text().splitlines() if "psnr" in line]) == 96


def test_pictures_of_one_size_have_one_size() -> None:
    """Their pixels are known from bytes and bits a pixel: of 500 x 333 whole numbers, for memory is measured with the
    last of the largest pictures."""
    sizes = {evaluate._pixels({"bytes": size, "bpp": 8 * size / (500 * 333)}) for size in range(5000, 6000)}
    assert sizes == {500 * 333}


def test_no_model_is_loaded_while_a_clock_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What serves a quality and what serves drawings or photos may be different models."""
    coded: list[tuple[float, bool]] = []

    def encode(pixels: np.ndarray, quality: float) -> bytes:
        coded.append((quality, is_drawn(pixels)))
        return b""

    codec_ = dataclasses.replace(codecs.make("jpeg"), encode=encode, decode=lambda data: np.empty((0, 0, 3), np.uint8))
    monkeypatch.setattr(codecs, "make", lambda *_: codec_)
    measure._warm.cache_clear()
    for quality in (20.0, 80.0, 20.0):
        measure._warm("jpeg", quality, 1)
    measure._warm.cache_clear()
    assert sorted(coded) == [(20, False), (20, True), (80, False), (80, True)]


@pytest.mark.parametrize("name", ["jpeg", "jpegli", "jpeg2000", "webp", "avif", "jxl", "heic"])
def test_peers_give_back_the_picture_and_grow_with_quality(name: str, photo: Image.Image) -> None:
    peer = codecs.make(name)
    pixels = np.asarray(photo)
    sizes, quality = [], []
    for rung in (peer.ladder[0], peer.ladder[-1]):
        data = peer.encode(pixels, rung)
        sizes.append(len(data))
        quality.append(psnr(pixels, peer.decode(data)))
    assert sizes[0] < sizes[1] / 4
    assert quality[0] + 5 < quality[1]


@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("avif", "PIL._avif.AvifDecoder"),
        ("jxl", "pillow_jxl.JpegXLImagePlugin.Decoder"),
        ("heic", "_pillow_heif.load_file"),
    ],
)
def test_peers_decode_on_as_many_threads_as_they_are_told(
    name: str, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = codecs.make(name, threads=3)
    data = peer.encode(np.zeros((16, 16, 3), np.uint8), 50)
    module, _, function = decoder.rpartition(".")
    plain, seen = getattr(importlib.import_module(module), function), []

    def record(*given: object, **named: object) -> object:
        seen.extend(one for one in (*given, *named.values()) if type(one) is int)
        return plain(*given, **named)

    monkeypatch.setattr(decoder, record)
    assert peer.decode(data).shape == (16, 16, 3)
    assert 3 in seen


def test_zoo_models_code_files_of_any_size() -> None:
    """Untrained weights, for trained ones have to be downloaded: what is tested is that the file holds the picture."""
    model = codecs._zoo("bmshj2018-hyperprior", 1, pretrained=False)
    pixels = np.random.default_rng(0).integers(0, 256, (75, 130, 3), np.uint8)
    assert model.decode(model.encode(pixels, 1)).shape == (75, 130, 3)


def test_quality_at_size_is_the_best_that_fits(photo: Image.Image) -> None:
    pixels, jpeg = np.asarray(photo), codecs.make("jpeg")
    sizes = [len(jpeg.encode(pixels, quality)) for quality in range(1, 96)]
    for limit in (sizes[0] - 1, sizes[0], sizes[40], sizes[40] + 1, sizes[-1] + 100):
        best = max((q for q, size in enumerate(sizes, 1) if size <= limit), default=1)
        assert quality_at_size(jpeg, pixels, limit) == best
        known = {10.0: sizes[9], 60.0: sizes[59]}
        assert quality_at_size(jpeg, pixels, limit, known) == best


def test_a_size_that_is_close_enough_is_found_by_fewer_files() -> None:
    """Files of sizes as photos have them, which grow by a power with the quality, and by steps."""
    made: list[int] = []

    def encode(pixels: np.ndarray, quality: float) -> bytes:
        made.append(int(2000 * 1.03**quality) // 3 * 3)
        return bytes(made[-1])

    codec_ = dataclasses.replace(codecs.make("jpeg"), encode=encode, span=(1.0, 100.0), step=1 / 256)
    for limit in (2500, 9000, 30000):
        made.clear()
        found = quality_at_size(codec_, np.zeros((1, 1, 3), np.uint8), limit, close=0.005)
        assert len(made) <= 6
        assert 0.995 * limit <= len(codec_.encode(np.zeros((1, 1, 3), np.uint8), found)) <= limit
    assert quality_at_size(codec_, np.zeros((1, 1, 3), np.uint8), 100, close=0.005) == 1
    highest = quality_at_size(codec_, np.zeros((1, 1, 3), np.uint8), 10**6, close=0.005)
    assert highest == pytest.approx(100, abs=0.1)


def test_a_file_of_just_that_size_needs_no_search(photo: Image.Image) -> None:
    def refuse(pixels: np.ndarray, quality: float) -> bytes:
        raise AssertionError("encoded again")

    codec_ = dataclasses.replace(codecs.make("jpeg"), encode=refuse)
    assert quality_at_size(codec_, np.asarray(photo), 700, {10: 500, 30: 700, 80: 2000}) == 30


@pytest.mark.parametrize(
    ("known", "limit", "best", "most"),
    [
        ({10: 1000, 40: 4000, 41: 4100, 80: 8000}, 4050, 40, 0),
        ({80: 8000, 41: 4100, 40: 4000, 10: 1000}, 4099, 40, 0),
        ({40.5: 4050}, 4000, 40, 7),
        ({39.5: 3950}, 3960, 39, 7),
        ({30: 700, 50: 700, 80: 2000}, 700, 50, 0),
    ],
)
def test_sizes_that_are_known_narrow_the_search(known: dict[float, int], limit: int, best: float, most: int) -> None:
    made: list[float] = []

    def encode(pixels: np.ndarray, quality: float) -> bytes:
        made.append(quality)
        return bytes(int(100 * quality))

    codec_ = dataclasses.replace(codecs.make("jpeg"), encode=encode, span=(1.0, 95.0), step=1)
    assert quality_at_size(codec_, np.zeros((1, 1, 3), np.uint8), limit, known) == best
    assert len(made) <= most


def test_the_highest_of_equal_files_is_found() -> None:
    codec_ = dataclasses.replace(codecs.make("jpeg"), encode=lambda _, quality: bytes(int(quality) // 10), step=1)
    for limit in range(9):
        assert quality_at_size(codec_, np.zeros((1, 1, 3), np.uint8), limit) == 10 * limit + 9


def test_plot_draws_evaluations_together(evaluated: Path, tmp_path: Path) -> None:
    code, text = run_lapic(
        "plot", evaluated / "results.json", evaluated / "results.json", "--out", tmp_path, "--published"
    )
    assert code == 0, text
    assert str(tmp_path / "rd-psnr.png") in text
    assert "VTM 9.1, published" in (tmp_path / "rd-psnr.svg").read_text()


def test_compare_prints_every_metric(pictures: Path, evaluated: Path, tmp_path: Path, no_backbone: None) -> None:
    compressed = tmp_path / "a.lapic"
    compressed.write_bytes(lapic.encode(Image.open(pictures / "left.png"), 50))
    code, text = run_lapic("compare", pictures / "left.png", compressed, "--json")
    assert code == 0, text
    found = json.loads(text.splitlines()[-1])
    there = {"butteraugli"} if shutil.which(butteraugli.PROGRAM) else set()
    assert set(found) == {"psnr", "ms_ssim", "ms_ssim_db", "ssimulacra2", "flip"} | there
    points = json.loads((evaluated / "results.json").read_text())["points"]
    same = next(p for p in points if (p["picture"], p["codec"], p["quality"]) == ("left", "lapic", 50))
    assert found["ms_ssim"] == pytest.approx(same["ms_ssim"], abs=1e-4)


@pytest.mark.parametrize("error", [http.client.IncompleteRead(b""), OSError("offline"), zipfile.BadZipFile()])
def test_compare_prints_json_alone_where_some_cannot_be_had(
    error: Exception, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: object, **__: object) -> None:
        print("Downloading: a backbone")
        raise error

    import_torchvision()
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", download)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    monkeypatch.setattr("shutil.which", lambda _: None)
    lpips_model.cache_clear()
    result = CliRunner().invoke(main, ["compare", str(pictures / "left.png"), str(pictures / "right.png"), "--json"])
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)) == {"psnr", "ms_ssim", "ms_ssim_db", "ssimulacra2", "flip"}
    first, second, third = result.stderr.splitlines()
    assert first == "Downloading: a backbone"
    assert second.startswith("lpips is skipped: LPIPS has no backbone (")
    assert third.startswith(
        "butteraugli is skipped: the program butteraugli_main is not installed (Debian: apt install"
    )


def test_transparent_pictures_are_measured_on_white(photo: Image.Image, tmp_path: Path) -> None:
    """What lies hidden under transparency is no error, and transparency where there was none is one."""
    whole = photo.crop((0, 0, 64, 64))
    hidden, seen = Image.effect_noise((64, 64), 90).convert("RGB"), whole.copy()
    hidden.paste(whole.crop((0, 32, 64, 64)), (0, 32))
    half = Image.new("L", (64, 64), 255)
    half.paste(0, (0, 0, 64, 32))
    hidden.putalpha(half)
    seen.paste((255, 255, 255), (0, 0, 64, 32))
    for name, image in (("hidden", hidden), ("seen", seen), ("whole", whole)):
        image.save(tmp_path / f"{name}.png")

    def psnr_between(a: str, b: str) -> float | None:
        result = CliRunner().invoke(main, ["compare", "--json", str(tmp_path / a), str(tmp_path / b)])
        found: float | None = json.loads(result.stdout)["psnr"]
        return found

    assert psnr_between("hidden.png", "seen.png") is None  # infinite
    assert (psnr_between("hidden.png", "whole.png") or 99) < 20
    command = ["encode", "-e", "0", tmp_path / "hidden.png", tmp_path / "a.lapic", "--metrics", "psnr", "--json", "-"]
    result = CliRunner().invoke(main, [str(argument) for argument in command])
    assert json.loads(result.stdout)[0]["psnr"] > 25


def test_qualities_that_a_codec_does_not_have_are_named(pictures: Path, tmp_path: Path) -> None:
    code, text = run_lapic(
        "evaluate", pictures / "left.png", "--out", tmp_path, "--codecs", "jpeg,webp", "--metrics", "psnr",
        "--no-report", "--qualities", "jpeg=0,10.5,50,500", "--qualities", "webp=101",
    )  # fmt: skip
    assert code == 0, text
    assert "JPEG (4:2:0) has whole qualities 1 to 95: 0, 10.5, 500 left out" in text
    assert "WebP (4:2:0) has whole qualities 0 to 100: 101 left out" in text
    points = json.loads((tmp_path / "results.json").read_text())["points"]
    assert [(point["codec"], point["quality"]) for point in points] == [("jpeg", 50)]


def test_qualities_of_a_codec_are_given_once(pictures: Path, tmp_path: Path) -> None:
    twice = ["--qualities", "jpeg=10", "--qualities", "webp=20", "--qualities", "jpeg=60"]
    code, text = run_lapic("evaluate", pictures, "--out", tmp_path / "out", "--codecs", "jpeg,webp", *twice)
    assert code == 2
    assert "--qualities names jpeg twice" in text
    assert not (tmp_path / "out").exists()


def test_bad_requests_get_one_line(pictures: Path, tmp_path: Path) -> None:
    for arguments in (
        ("evaluate", pictures, "--out", tmp_path, "--codecs", "gif"),
        ("evaluate", tmp_path, "--out", tmp_path / "x", "--codecs", "jpeg", "--metrics", "psnr"),
        ("evaluate", pictures, "--out", tmp_path, "--codecs", "jpeg", "--qualities", "webp=3"),
        ("evaluate", pictures, "--out", tmp_path, "--codecs", "lapic@e77"),
        ("evaluate", pictures, "--out", tmp_path, "--codecs", "jpeg", "--lpips-backbone", pictures / "left.png"),
        ("compare", pictures / "left.png", pictures / "left.png", "--lpips-backbone", pictures / "left.png"),
        ("compare", tmp_path, tmp_path),
    ):
        code, text = run_lapic(*arguments)
        assert code == 1
        assert len(text.splitlines()) == 1, text
        assert text.startswith("lapic: ")
