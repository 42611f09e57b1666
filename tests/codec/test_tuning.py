import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import lapic
from lapic.codec.cli import main
from lapic.codec.encode.tuning import Measure, structural
from lapic.codec.evaluation.metrics import ssimulacra2
from lapic.codec.metrics import psnr
from lapic.codec.model.codec_weights import load
from lapic.codec.nets.network import assemble


@pytest.fixture(scope="module")
def error() -> torch.Tensor:
    return torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(0)) / 10


@pytest.fixture(scope="module")
def measure() -> Measure:
    picture = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return structural(picture * torch.linspace(0, 1, 48))  # from flat to busy


@pytest.mark.parametrize(("quality", "tuned_quality"), [(15, 15.2), (85, 86)])
def test_a_smaller_file_looks_better(quality: float, tuned_quality: float, photo: Image.Image) -> None:
    plain, tuned = lapic.encode(photo, quality, effort=3), lapic.encode(photo, tuned_quality, effort=3, tune="ssim")
    original, *seen = (np.asarray(image) for image in (photo, lapic.decode(plain), lapic.decode(tuned)))
    assert len(tuned) < len(plain)
    assert ssimulacra2(original, seen[1]) > ssimulacra2(original, seen[0])
    assert psnr(photo, lapic.decode(tuned)) < psnr(photo, lapic.decode(plain)) + 0.1


def test_slope_is_half_the_derivative_of_the_cost(measure: Measure, error: torch.Tensor) -> None:
    asked = error.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(measure.cost(asked).sum(), asked)
    assert torch.allclose(2 * measure.slope(error), wanted, rtol=1e-4, atol=1e-6)


def test_cost_lies_where_the_error_is(measure: Measure, error: torch.Tensor) -> None:
    alone = torch.zeros_like(error)
    alone[..., 16:32, 32:48] = error[..., 16:32, 32:48]
    cost = measure.cost(alone)
    assert cost.shape == (2, 1, 4, 3)
    assert (cost[..., 1, 2] > 0).all()
    cost[..., 1, 2] = 0
    assert (cost == 0).all()


def test_curvature_is_that_of_the_linear_path() -> None:
    synthesis = load("photo", dtype=torch.float32).transforms.synthesis
    flat = structural(torch.zeros(1, 3, 16, 16))
    bend = flat.curvature(synthesis)  # (1, M, 1, 1)
    for channel in (0, 1, 40, 300):
        latent = torch.zeros(1, bend.shape[1], 1, 1)
        latent[0, channel] = 1
        with torch.no_grad():
            base, _ = synthesis.features(latent, torch.tensor([12800]))
            pattern = assemble(base, [torch.zeros(1, 3, 2 << level, 2 << level) for level in range(4)])
        assert bend[0, channel].item() == pytest.approx(
            (flat.cost(pattern).sum() / pattern.square().sum()).item(), rel=1e-3
        )


def test_texture_colour_and_fine_detail_hide_errors() -> None:
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(1, 1, 64, 64, generator=generator).expand(1, 3, 64, 64)
    noise = torch.randn(1, 1, 64, 64, generator=generator).expand(1, 3, 64, 64)
    colour = noise * torch.tensor([1.0, -0.5, -0.05])[:, None, None]
    coarse = torch.nn.functional.interpolate(noise[..., ::16, ::16], scale_factor=16)

    def weight(picture: torch.Tensor, error: torch.Tensor) -> float:
        return (structural(picture).cost(error).sum() / error.square().sum()).item()

    flat = torch.zeros_like(texture)
    assert weight(texture, noise) < 0.7 * weight(flat, noise)
    assert weight(flat, colour) < 0.5 * weight(flat, noise)
    assert weight(flat, coarse) > 2 * weight(flat, noise)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"tune": "vmaf"}, "vmaf"), ({"tune": "vmaf", "effort": 0}, "vmaf"), ({"tune": "ssim", "effort": 0}, "effort")],
)
def test_what_cannot_be_tuned_is_said(settings: dict, said: str, photo: Image.Image) -> None:
    with pytest.raises(ValueError, match=said):
        lapic.encode(photo.crop((0, 0, 32, 32)), **settings)


def test_on_the_command_line(photo: Image.Image, tmp_path) -> None:
    source, target = str(tmp_path / "a.png"), str(tmp_path / "a.lapic")
    small = photo.crop((0, 0, 64, 64))
    small.save(source)
    refused = CliRunner().invoke(main, ["encode", source, target, "--tune", "ssim", "-e", "0"])
    assert refused.exit_code == 1
    assert refused.output.count("\n") == 1
    assert not list(tmp_path.glob("*.lapic"))
    found = CliRunner().invoke(main, ["encode", source, target, "--tune", "ssim", "-e", "1", "--quiet"])
    assert found.exit_code == 0
    assert (tmp_path / "a.lapic").read_bytes() == lapic.encode(small, tune="ssim", effort=1)
