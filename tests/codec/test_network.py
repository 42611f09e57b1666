import pytest
import torch
from torch.nn import functional as F

from lapic.codec.evaluation.cost import macs_by_part
from lapic.codec.model.codec_weights import load
from lapic.codec.nets.layers import asinh
from lapic.codec.nets.network import quarter_cells


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_cells_of_four_are_those_of_the_picture(dtype: torch.dtype, order: torch.memory_format) -> None:
    eighths = torch.randn(2, 192, 5, 7).to(dtype).contiguous(memory_format=order)
    expected = F.pixel_unshuffle(F.pixel_shuffle(eighths, 8), 4)
    with torch.no_grad():
        found = quarter_cells(eighths)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(quarter_cells(eighths.requires_grad_()), expected)


def test_asinh_is_that_of_torch() -> None:
    x = torch.cat([torch.linspace(-40, 40, 9001), torch.tensor([0.0, -0.0, 1e-7, -1e-4, 1e18, -1e18])])
    with torch.no_grad():
        assert torch.allclose(asinh(x), torch.asinh(x), rtol=1e-5, atol=1e-7)
    (slope,) = torch.autograd.grad(asinh(x.requires_grad_()).sum(), x)
    assert torch.allclose(slope, 1 / (1 + x.double() ** 2).sqrt().float())


@pytest.mark.parametrize("name", ["eye", "fast"])
def test_the_parts_of_a_network_take_what_the_whole_takes(name: str) -> None:
    """Also parts whose blocks are called one by one."""
    transforms, quality = load(name).transforms, torch.tensor([12800])
    latent, picture = torch.zeros(1, transforms.config.latent, 4, 4), torch.zeros(1, 3, 64, 64)
    for network, given in ((transforms.analysis, (picture,)), (transforms.synthesis, (latent, quality))):
        found = macs_by_part(network, *given)
        assert found.pop("") == sum(found.values())
        assert found["fine" if "fine" in found else "body"] > 0
