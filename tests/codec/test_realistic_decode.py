"""The shipped realistic decoder; how one is trained is tested in tests/training."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

import codec
from codec.metrics import psnr
from tests.conftest import EXAMPLES


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.open(EXAMPLES / "chelsea.png").convert("RGB").crop((60, 40, 348, 264))


def detail(image: Image.Image) -> float:
    """Mean magnitude of what a blur removes, in grey levels."""
    grey = image.convert("L")
    return float(np.abs(np.asarray(grey, float) - np.asarray(grey.filter(ImageFilter.GaussianBlur(1)))).mean())


@pytest.mark.parametrize("quality", [10, 30, 60, 80])
def test_detail_comes_back_for_little_fidelity(quality: int, picture: Image.Image) -> None:
    data = codec.encode(picture, quality)
    faithful, half, realistic = (codec.decode(data, realism=r) for r in (0, 0.5, 1))
    wanted = detail(picture)
    assert detail(faithful) < detail(half)
    assert abs(detail(realistic) - wanted) < abs(detail(faithful) - wanted)
    assert psnr(picture, faithful) - psnr(picture, realistic) < 2


def test_beyond_what_was_trained_realism_fades_out(picture: Image.Image) -> None:
    changes = []
    for quality in (80, 90, 97, 100):
        data = codec.encode(picture, quality)
        faithful, realistic = (np.asarray(codec.decode(data, realism=r), float) for r in (0, 1))
        changes.append(np.abs(faithful - realistic).mean())
    assert changes == sorted(changes, reverse=True)
    assert changes[-1] < 0.01
