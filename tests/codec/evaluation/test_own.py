"""lapic with settings and models of its own among the codecs that are measured."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lapic
from lapic.bitstream import Error
from lapic.codec.evaluation import codecs, own
from lapic.codec.evaluation.codec import Unavailable, told_apart
from lapic.codec.evaluation.cost import add_costs
from lapic.codec.evaluation.curves import Curve
from lapic.codec.model.shipped import WEIGHTS

PHOTO, HIGH = WEIGHTS / "photo.safetensors", WEIGHTS / "photo-high.safetensors"


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> np.ndarray:
    return np.asarray(photo.crop((0, 0, 96, 64)))


def test_a_name_that_stands_for_two_models_serves_the_qualities_of_both(small: np.ndarray) -> None:
    made = codecs.make("lapic@e0+model=photo")
    assert (made.label, made.span) == ("lapic, effort 0, photo", (1, 100))
    assert own.decodes_with("lapic@model=photo", 80) == ("photo-high", 0)
    for quality, name in ((60, "photo"), (60.5, "photo-high")):
        data = made.encode(small, quality)
        assert lapic.info(data)["model"]["name"] == name
        assert np.array_equal(made.decode(data), np.asarray(lapic.decode(data)))


@pytest.mark.parametrize(("variant", "name"), [("psnr+model=auto", "photo"), ("model=auto", "eye")])
def test_the_model_auto_is_that_of_the_tune(variant: str, name: str, small: np.ndarray) -> None:
    made = codecs.make(f"lapic@e0+{variant}")
    assert lapic.info(made.encode(small, 50))["model"]["name"] == name
    assert own.decodes_with(f"lapic@{variant}", 50) == (name, 0)


def test_settings_are_joined(small: np.ndarray) -> None:
    made = codecs.make("lapic@e2+psnr")
    assert made.label == "lapic, effort 2, tune psnr"
    assert "effort 2, tune psnr" in made.version
    assert made.encode(small, 30) == lapic.encode(Image.fromarray(small), 30, effort=2, tune="psnr")
    assert codecs.make("lapic@e0+r0.5").encoder == "lapic@e0"
    assert codecs.make("lapic@r1").encoder == "lapic"
    assert codecs.make("lapic").encoder is None


def test_models_serve_the_qualities_that_they_were_trained_for(small: np.ndarray, tmp_path: Path) -> None:
    mine = tmp_path / "own.safetensors"
    mine.write_bytes(PHOTO.read_bytes())
    low, both = codecs.make(f"lapic@e0+model={mine}"), codecs.make(f"lapic@e0+model={mine}+model={HIGH}")
    assert (low.label, both.label) == ("lapic, effort 0, own", "lapic, effort 0, own and photo-high")
    assert (low.span, both.span) == ((1, 60), (1, 100))
    assert (low.ladder, both.ladder) == ((5, 20, 40, 60), (5, 20, 40, 60, 80, 100))
    assert low.folder.count("/") == 0
    for quality, name in ((60, "photo"), (60.5, "photo-high")):
        data = both.encode(small, quality)
        assert data == lapic.encode(Image.fromarray(small), quality, effort=0, model=name)
        assert np.array_equal(both.decode(data), np.asarray(lapic.decode(data)))
    with pytest.raises(Unavailable, match="realistic"):
        codecs.make(f"lapic@r0.5+model={mine}")


@pytest.mark.parametrize(
    ("span", "ladder"), [((62, 78), (62, 70, 78)), ((30, 50), (30, 40, 50)), ((50, 50), (50,)), ((1, 40), (5, 20, 40))]
)
def test_models_of_few_qualities_are_measured_at_some(
    span: tuple[float, float], ladder: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "_qualities", lambda _: span)
    assert own.lapic(1, f"model={PHOTO}").ladder == ladder


def test_models_of_one_name_can_be_told_apart(tmp_path: Path) -> None:
    """As those of two runs of training are; labels are what plots and tables show."""
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "own.safetensors").write_bytes(PHOTO.read_bytes())
    names = [f"lapic@model={tmp_path}/{run}/own.safetensors" for run in ("a", "b")]
    made = [codecs.make(name) for name in ("jpeg", *names)]
    found = told_apart(made)
    assert [one.label for one in found] == ["JPEG (4:2:0)", *names]
    assert found == made  # labels tell nothing of what is coded


@pytest.mark.parametrize(
    "name", ["lapic@x", "lapic@e", "lapic@e0+", "lapic@e77", "lapic@r2", "lapic@model=absent", "avif@3", "avif@s11"]
)
def test_what_cannot_be_set_is_an_error(name: str) -> None:
    with pytest.raises(Error):
        codecs.make(name)


def test_the_decoder_that_a_codec_uses_is_counted() -> None:
    measured = {"lapic": (20, 80), "lapic@e0+psnr": (20,), "lapic@model=fast": (20, 50)}
    measured |= {"lapic@e0+model=fast+model=eye-high": (20, 80), "jpeg": (20,), "mbt2018-mean": (3,)}
    curves = [Curve(name, name, [1.0], {}) for name in measured]
    add_costs(curves, [{"codec": name, "quality": q} for name, qualities in measured.items() for q in qualities])
    usual, tuned, fast, both, jpeg, zoo = (curve.decoder for curve in curves)
    assert usual == tuned == pytest.approx(19.37, abs=0.005)
    assert fast == pytest.approx(6.36, abs=0.005)
    assert both == pytest.approx((usual + fast) / 2)
    assert jpeg is None
    assert zoo == pytest.approx(81.6)


def test_avif_says_what_encodes_it(small: np.ndarray) -> None:
    usual, slow = codecs.make("avif"), codecs.make("avif@s3")
    for made, speed in ((usual, 6), (slow, 3)):
        assert made.label.startswith(f"AVIF, speed {speed} (libaom ")
        for word in ("Pillow", "libavif", "libaom", "4:4:4", f"speed {speed}", "tune"):
            assert word in made.version
    files = [made.encode(small, 60) for made in (usual, slow)]
    assert files[0] != files[1]
    assert files[0] == codecs._save(small, "AVIF", quality=60, subsampling="4:4:4", max_threads=1)
