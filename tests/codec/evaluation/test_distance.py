from pathlib import Path

import pytest
import torch
from PIL import Image

from bitstream import Error
from codec.compat import import_torchvision
from codec.evaluation.distance import fid_kid


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


def test_a_file_that_holds_no_weights_is_named(folders) -> None:
    with pytest.raises(Error, match="holds no weights"):
        fid_kid(*folders, inception=folders[0] / "0.png")


def test_one_picture_is_no_distribution(folders, tmp_path: Path) -> None:
    Image.new("RGB", (50, 50)).save(tmp_path / "a.png")
    with pytest.raises(Error, match="two pictures or more"):
        fid_kid(folders[0], tmp_path)
