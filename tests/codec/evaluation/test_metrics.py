import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapic.bitstream import Error
from lapic.codec.compat import import_torchvision
from lapic.codec.evaluation import metrics


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
    with pytest.raises(Error, match="backbone"):
        metrics.lpips_model("squeeze", tmp_path / "wrong.npz")


def test_sizes_must_agree(pair) -> None:
    with pytest.raises(Error, match="451 x 300 and 450 x 300"):
        metrics.all_metrics(pair[0], pair[1][:, :450])
