import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import lapic
from lapic.codec.cli import main
from lapic.codec.encode import appearance
from lapic.codec.encode.appearance import CONVEX, SQUARES, Appearance
from lapic.codec.evaluation.metrics import ssimulacra2
from lapic.codec.metrics import psnr
from lapic.codec.model.codec_weights import load
from lapic.codec.nets.network import assemble
from lapic.training.eye import Structure


@pytest.fixture(scope="module")
def error() -> torch.Tensor:
    return torch.randn(2, 3, 96, 80, generator=torch.Generator().manual_seed(0)) / 10


@pytest.fixture(scope="module")
def measure(error: torch.Tensor) -> Appearance:
    picture = torch.rand(error.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    picture = picture * torch.linspace(0, 1, error.shape[3])  # from flat to busy
    return Appearance.near(picture, picture + error)


@pytest.mark.parametrize("quality", [15, 85])
def test_a_smaller_file_looks_better(quality: float, photo: Image.Image) -> None:
    """With the same model: the search alone makes the difference."""
    model = "photo" if quality < 60 else "photo-high"
    plain = lapic.encode(photo, quality, effort=3, model=model, tune="psnr")
    tuned = lapic.encode(photo, effort=3, model=model, size=len(plain))
    original, *seen = (np.asarray(image) for image in (photo, lapic.decode(plain), lapic.decode(tuned)))
    assert ssimulacra2(original, seen[1]) > ssimulacra2(original, seen[0])
    assert psnr(original, seen[1]) < psnr(original, seen[0])


def test_slope_is_half_the_derivative_of_the_cost(measure: Appearance, error: torch.Tensor) -> None:
    asked = error.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(measure.cost(asked, measure.split(asked)).sum(), asked)
    assert torch.allclose(
        2 * measure.slope(error, measure.split(error)), wanted, rtol=1e-3, atol=1e-5 * wanted.abs().max().item()
    )


def test_cost_lies_where_the_error_is(measure: Appearance, error: torch.Tensor) -> None:
    alone = torch.zeros_like(error)
    alone[..., 16:32, 32:48] = error[..., 16:32, 32:48]
    cost = measure.cost(alone, measure.split(alone))
    assert cost.shape == (2, 1, 6, 5)
    assert (cost[..., 1, 2] > 0.8 * cost.sum((1, 2, 3))[:, None]).all()
    assert (cost[..., 4:, :] == 0).all()


@pytest.mark.parametrize("scale", [0.02, 0.1])
def test_slope_follows_the_score(photo: Image.Image, scale: float) -> None:
    pixels = torch.from_numpy(np.array(photo.convert("RGB").crop((0, 0, 256, 256)))).permute(2, 0, 1)[None]
    picture = pixels.float() / 127.5 - 1
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    added = scale * torch.nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)
    draft = (picture + added).clamp(-1, 1)
    asked = draft.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(Structure()(asked, picture).sum(), asked)
    measure = Appearance.near(picture, draft)
    error = draft - picture
    slope = measure.slope(error, measure.split(error)) - SQUARES * error
    assert torch.cosine_similarity(slope.flatten(), wanted.flatten(), 0) > 0.7


@pytest.mark.parametrize("window", [5, 9])
def test_local_means_are_those_of_a_window(window: int) -> None:
    x = torch.rand(2, 3, 20, 33, generator=torch.Generator().manual_seed(2))
    within, zeros_around = (
        torch.nn.functional.avg_pool2d(x, window, stride=1, padding=window // 2, count_include_pad=counted)
        for counted in (False, True)
    )
    assert torch.allclose(appearance.local_mean(x, window), within, atol=1e-6)
    if window == appearance.WINDOW:
        assert torch.allclose(appearance.blurred(x), zeros_around, atol=1e-6)


def test_blocks_are_added_and_pictures_halved() -> None:
    x = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(2))
    for edge in (2, 16):
        summed = torch.nn.functional.avg_pool2d(x, edge, divisor_override=1)
        assert torch.allclose(appearance.block_sums(x, edge), summed)
    expected = x
    for halved in appearance._halved(x):
        assert torch.allclose(halved, expected)
        expected = torch.nn.functional.avg_pool2d(expected, 2)


def test_a_copy_has_no_error() -> None:
    """Weights stay finite where nothing differs."""
    flat = torch.zeros(1, 3, 16, 16)
    measure = Appearance.near(flat, flat)
    assert measure.cost(flat, measure.split(flat)).sum() == 0
    ones = torch.ones_like(flat)
    assert torch.isfinite(measure.slope(ones, measure.split(ones))).all()


def test_curvature_is_that_of_the_linear_path() -> None:
    synthesis = load("photo", dtype=torch.float32).transforms.synthesis
    grey = torch.zeros(1, 3, 112, 112)
    flat = Appearance.near(grey, grey)
    bend = flat.curvature(synthesis)[..., 3, 3]  # (1, M)
    for channel in (0, 1, 40, 300):
        latent = torch.zeros(1, bend.shape[1], 7, 7)
        latent[0, channel, 3, 3] = 1
        with torch.no_grad():
            base, _ = synthesis.features(latent, torch.tensor([12800]))
            pattern = assemble(base, [torch.zeros(1, 3, 14 << level, 14 << level) for level in range(4)])
        found = (flat.cost(pattern, flat.split(pattern)).sum() / pattern.square().sum()).item()
        assert SQUARES + (bend[0, channel].item() - SQUARES) / CONVEX == pytest.approx(found, rel=0.02)


def test_what_cannot_be_tuned_is_said(photo: Image.Image) -> None:
    with pytest.raises(ValueError, match="vmaf"):
        lapic.encode(photo.crop((0, 0, 32, 32)), tune="vmaf")


def test_the_tune_chooses_the_model(photo: Image.Image, tmp_path) -> None:
    source, target = str(tmp_path / "a.png"), str(tmp_path / "a.lapic")
    small = photo.crop((0, 0, 64, 64))
    small.save(source)
    for tune, quality, model in (("eye", 50, "eye"), ("eye", 70, "eye-high"), ("psnr", 50, "photo")):
        words = ["encode", source, target, "--tune", tune, "-e", "1", "-q", str(quality), "--quiet", "--force"]
        assert CliRunner().invoke(main, words).exit_code == 0
        made = (tmp_path / "a.lapic").read_bytes()
        assert made == lapic.encode(small, quality, tune=tune, effort=1)
        assert lapic.info(made)["model"]["name"] == model
    assert lapic.encode(small, effort=0) == lapic.encode(small, effort=0, tune="eye")
