"""The shipped realistic decoder; how one is trained is tested in tests/training."""

import numpy as np
import pytest
from PIL import Image

import lapic
from lapic.codec.metrics import psnr
from tests.conftest import detail


@pytest.fixture(scope="module")
def picture(photo: Image.Image) -> Image.Image:
    return photo.crop((60, 40, 348, 264))


@pytest.mark.parametrize(
    ("model", "quality"), [*(("auto", quality) for quality in (10, 30, 60, 80)), *(("fast", q) for q in (10, 30, 60))]
)
def test_detail_comes_back_for_little_fidelity(model: str, quality: int, picture: Image.Image) -> None:
    data = lapic.encode(picture, quality, model=model)
    faithful, half, realistic = (lapic.decode(data, realism=r) for r in (0, 0.5, 1))
    wanted = detail(picture)
    assert detail(faithful) < detail(half)
    assert abs(detail(realistic) - wanted) < abs(detail(faithful) - wanted)
    assert psnr(picture, faithful) - psnr(picture, realistic) < 2.2


def test_beyond_what_was_trained_realism_fades_out(picture: Image.Image) -> None:
    changes = []
    for quality in (80, 90, 97, 100):
        data = lapic.encode(picture, quality)
        faithful, realistic = (np.asarray(lapic.decode(data, realism=r), float) for r in (0, 1))
        changes.append(np.abs(faithful - realistic).mean())
    assert changes == sorted(changes, reverse=True)
    assert changes[-1] < 0.01


@pytest.mark.parametrize("scale", [1, 8])
def test_at_quality_100_realism_changes_nothing(scale: int, picture: Image.Image) -> None:
    data = lapic.encode(picture, 100, effort=0)
    faithful, realistic = (np.asarray(lapic.decode(data, scale=scale, realism=r)) for r in (0, 1))
    assert np.array_equal(faithful, realistic)
