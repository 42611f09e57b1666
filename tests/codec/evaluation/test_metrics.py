import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapic.bitstream import Error
from lapic.codec.compat import import_torchvision
from lapic.codec.evaluation import butteraugli, metric, metrics


@pytest.fixture(scope="module")
def pair(photo: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=30)
    return np.asarray(photo), np.asarray(Image.open(out))


def test_ms_ssim_is_that_of_pytorch_msssim(pair) -> None:
    from pytorch_msssim import ms_ssim

    x, y = (torch.from_numpy(np.array(p)).permute(2, 0, 1)[None].double() for p in pair)
    assert metrics.ms_ssim(*pair) == pytest.approx(ms_ssim(x, y, data_range=255).item(), abs=1e-5)
    assert metrics.ms_ssim(pair[0], pair[0]) == pytest.approx(1)
    assert metrics.decibel(0.99) == pytest.approx(20)


def test_ms_ssim_of_a_small_picture_is_undefined(pair) -> None:
    small = [p[:160, :400] for p in pair]
    assert metrics.ms_ssim(*small) is None
    found = metrics.all_metrics(*small, wanted=("psnr", "ms_ssim"))
    assert found["ms_ssim"] is found["ms_ssim_db"] is None
    assert metrics.ms_ssim(*(p[:161, :400] for p in pair)) is not None


def test_metrics_of_tiny_pictures_are_undefined(pair, tmp_path: Path) -> None:
    """Where the layers of LPIPS' network leave nothing, and where packages take any two pictures for the same."""
    torchvision = import_torchvision()
    features = torchvision.models.squeezenet1_1().features.state_dict()
    np.savez(tmp_path / "a.npz", **{f"features.{name}": value.numpy() for name, value in features.items()})
    least = {"lpips": 17, "ssimulacra2": 8} | ({"butteraugli": 8} if shutil.which(butteraugli.PROGRAM) else {})
    for name, edge in least.items():
        below, enough = (
            metrics.all_metrics(*(p[100 : 100 + size, 100:200] for p in pair), (name,), "squeeze", tmp_path / "a.npz")
            for size in (edge - 1, edge)
        )
        assert below == {name: None}
        assert enough[name] is not None
    for net, edge in (("alex", 31), ("vgg", 16)):
        assert metrics.all_metrics(*(p[:200, : edge - 1] for p in pair), ("lpips",), net) == {"lpips": None}


def test_ssimulacra2_is_that_of_the_package(pair, tmp_path: Path) -> None:
    from ssimulacra2 import compute_ssimulacra2

    for name, pixels in zip("ab", pair, strict=True):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    direct = compute_ssimulacra2(str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    assert metrics.ssimulacra2(*pair) == pytest.approx(direct, abs=1e-6)
    assert metrics.ssimulacra2(pair[0], pair[0]) == pytest.approx(100)


def test_lpips_takes_a_local_backbone(pair, tmp_path: Path) -> None:
    torchvision = import_torchvision()
    import lpips

    torch.manual_seed(5)
    features = torchvision.models.squeezenet1_1().features.state_dict()
    backbone = tmp_path / "backbone.npz"
    np.savez(backbone, **{f"features.{name}": value.numpy() for name, value in features.items()})
    model = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False).eval()
    model.net.load_state_dict({name: features[name.split(".", 1)[1]] for name in model.net.state_dict()})
    x, y = (torch.from_numpy(np.array(p)).permute(2, 0, 1)[None].float() / 127.5 - 1 for p in pair)
    with torch.no_grad():
        assert metrics.lpips(*pair, backbone=backbone) == pytest.approx(model(x, y).item(), rel=1e-5)


def test_lpips_reproduces_the_published_figures() -> None:
    backbone = os.environ.get("LPIPS_BACKBONE")
    if not backbone:
        pytest.skip("set LPIPS_BACKBONE to an .npz of torchvision's squeezenet1_1 features")
    generator = torch.Generator().manual_seed(42)
    pair = [torch.rand(2, 3, 100, 100, generator=generator) * 2 - 1 for _ in range(2)]
    found = metrics.lpips_model("squeeze", Path(backbone))(*pair).flatten().tolist()
    assert found == pytest.approx([0.1024, 0.0938], abs=1e-4)  # torchmetrics' documentation


def test_a_wrong_backbone_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", a=np.zeros(3))
    with pytest.raises(Error, match="is no backbone of squeeze"):
        metrics.lpips_model("squeeze", tmp_path / "wrong.npz")
    with pytest.raises(Error, match="is no backbone of squeeze"):
        metrics.usable(("psnr", "lpips"), "squeeze", tmp_path / "wrong.npz", print)
    assert metrics.usable(("psnr",), "squeeze", tmp_path / "wrong.npz", print) == ("psnr",)


def test_every_metric_gives_the_figure_that_is_drawn(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuple(one.name for one in metric.ALL) == metrics.METRICS
    monkeypatch.setattr(butteraugli, "butteraugli", lambda *_: 0.5)
    for name in ("psnr", "ms_ssim", "ssimulacra2", "lpips", "flip"):
        monkeypatch.setattr(metrics, name, lambda *_: 0.5)
    found = metrics.all_metrics(*pair)
    assert {one.key for one in metric.ALL} == set(found) - {"ms_ssim"}
    assert metric.ALL[0].caption(31.416) == "PSNR 31.42 dB"


def test_sizes_must_agree(pair) -> None:
    with pytest.raises(Error, match="451 x 300 and 450 x 300"):
        metrics.all_metrics(pair[0], pair[1][:, :450])


def test_flip_is_that_of_the_paper(pair) -> None:
    """The mean of the map of the package, which the authors keep; figures of extremes as they publish the formula."""
    black, white = np.zeros((40, 60, 3), np.uint8), np.full((40, 60, 3), 255, np.uint8)
    assert metrics.flip(black, white) == pytest.approx(0.9673, abs=1e-3)  # of colours alone: nothing has an edge
    assert metrics.flip(pair[0], pair[0]) == 0
    assert metrics.flip(*pair) == pytest.approx(metrics.flip(*reversed(pair)))


def jpeg(photo: Image.Image, quality: int) -> np.ndarray:
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out))


@pytest.mark.parametrize("name", ["flip", "butteraugli"])
def test_distances_fall_with_quality(name: str, photo: Image.Image) -> None:
    if name == "butteraugli" and not shutil.which(butteraugli.PROGRAM):
        pytest.skip(f"not installed: {butteraugli.PROGRAM}")
    original = np.asarray(photo)
    found = [metrics.all_metrics(original, jpeg(photo, quality), (name,))[name] for quality in (10, 40, 90)]
    assert found[0] > 1.2 * found[1] > 1.5 * found[2] > 0
    assert metrics.all_metrics(original, original, (name,)) == {name: 0}


def program(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program of Butteraugli's name first in the path."""
    path = folder / butteraugli.PROGRAM
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_butteraugli_is_the_3_norm_that_the_program_prints(
    pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, f'cat "$1" "$2" > {tmp_path}/seen; echo 4.16495; echo "3-norm: 2.003178"', monkeypatch)
    assert butteraugli.butteraugli(*pair) == 2.003178
    assert (tmp_path / "seen").read_bytes().endswith(pair[1].tobytes())
    assert pair[0].tobytes() in (tmp_path / "seen").read_bytes()


def test_a_failure_of_butteraugli_is_one_line(pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "echo reading >&2; echo no memory >&2; echo 3-norm: 1; exit 3", monkeypatch)
    with pytest.raises(Error, match="failed: no memory"):
        butteraugli.butteraugli(*pair)
    program(tmp_path, "echo 4.16", monkeypatch)
    with pytest.raises(Error, match="failed: exit code 0"):
        butteraugli.butteraugli(*pair)
    monkeypatch.setenv("PATH", str(tmp_path / "absent"))
    with pytest.raises(Error, match="not installed"):
        butteraugli.find()


def test_metrics_that_cannot_be_had_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "flip_evaluator", None)
    said: list[str] = []
    assert metrics.usable(("psnr", "butteraugli", "flip"), "squeeze", None, said.append) == ("psnr",)
    assert said[1] == "flip is skipped: pip install flip-evaluator"
