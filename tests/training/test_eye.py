"""The objective that follows perception: SSIMULACRA2's terms as a loss, and their mixture with other measures."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lapic.codec.evaluation.metrics import ssimulacra2
from lapic.codec.nets import levels
from lapic.training import eye
from lapic.training.eye import SQUARES_ONLY, Distortion, Mixture, Structure, square_error
from tests.conftest import EXAMPLES


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(EXAMPLES / "coffee.png").convert("RGB").crop((100, 20, 356, 276))


@pytest.mark.parametrize("form", ["JPEG", "AVIF"])
@pytest.mark.parametrize("quality", [10, 30, 50, 75, 92])
def test_it_scores_as_the_package_does(photo: Image.Image, form: str, quality: int) -> None:
    file = io.BytesIO()
    photo.save(file, form, quality=quality)
    original, decoded = np.asarray(photo), np.asarray(Image.open(file).convert("RGB"))
    found = eye.score(Structure(as_scored=True)(_tensor(decoded), _tensor(original))).item()
    assert found == pytest.approx(ssimulacra2(original, decoded), abs=1)


def test_identical_pictures_have_no_distance_and_a_finite_gradient(photo: Image.Image) -> None:
    made = _tensor(np.asarray(photo)).requires_grad_()
    total = Structure()(made, made.detach())
    total.sum().backward()
    assert total.item() == pytest.approx(0, abs=1e-3)
    assert torch.isfinite(made.grad).all()


def test_blur_costs_more_than_its_square_error_says(photo: Image.Image) -> None:
    """Against noise of the same square error, which a PSNR could not tell from it."""
    original = _tensor(np.asarray(photo))
    blurred = torch.nn.functional.avg_pool2d(original, 5, stride=1, padding=2, count_include_pad=False)
    noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(0))
    noisy = original + noise * (blurred - original).square().mean().sqrt()
    assert square_error(noisy, original).item() == pytest.approx(square_error(blurred, original).item(), rel=0.05)
    assert not torch.allclose(Structure()(noisy, original), Structure()(blurred, original), rtol=0.1)


def test_a_mixture_adds_up_its_measures(photo: Image.Image, backbone: Path) -> None:
    original, quality = _tensor(np.asarray(photo)), torch.tensor([50 * levels.QUALITY_ONE])
    made = (original * 0.9).requires_grad_()
    squares = Distortion(SQUARES_ONLY)(made, original, quality)
    assert squares.item() == pytest.approx(square_error(made, original).item())
    structure = Distortion(Mixture(0.0, 1.0))(made, original, quality)
    lpips = Distortion(Mixture(0.0, 0.0, 1.0), backbone)(made, original, quality)
    mixed = Distortion(Mixture(0.5, 0.3, 0.2), backbone)(made, original, quality)
    alone = 1 + eye.RATE_KEPT  # the factor of the two that have no square error
    parts = 0.5 * squares + (0.3 * structure + 0.2 * lpips) / alone
    assert mixed.item() == pytest.approx((1 + 0.5 * eye.RATE_KEPT) * parts.item(), rel=1e-5)
    mixed.sum().backward()
    assert torch.isfinite(made.grad).all() and made.grad.abs().max() > 0
