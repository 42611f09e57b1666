"""LPTN against the paper: its layers, and its equations read straightforwardly."""

import pytest
import torch
from torch.nn import functional as F

from lapic.codec.nets import pyramid
from lapic.codec.nets.lptn import LPTN


def parameters(module: torch.nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def test_layers_are_the_papers() -> None:
    net = LPTN(bands=3)
    shapes = {name: tuple(value.shape) for name, value in net.named_parameters() if name.endswith("weight")}
    expected = {
        "low.enter": (16, 3, 3, 3),
        "low.widen": (64, 16, 3, 3),
        **{f"low.blocks.{n}.{layer}": (64, 64, 3, 3) for n in range(5) for layer in ("first", "second")},
        "low.narrow": (16, 64, 3, 3),
        "low.leave": (3, 16, 3, 3),
        "masks.enter": (64, 9, 3, 3),
        **{f"masks.blocks.{n}.{layer}": (64, 64, 3, 3) for n in range(3) for layer in ("first", "second")},
        "masks.leave": (1, 64, 3, 3),
        **{f"masks.refine.{n}.0": (16, 1, 1, 1) for n in range(3)},
        **{f"masks.refine.{n}.2": (1, 16, 1, 1) for n in range(3)},
    }
    assert shapes == {f"{name}.weight": shape for name, shape in expected.items()}
    assert parameters(net) == 616_215
    assert [parameters(LPTN(bands=bands)) for bands in (4, 5)] == [616_264, 616_313]


def straightforward(picture: torch.Tensor, state: dict[str, torch.Tensor], bands: int) -> torch.Tensor:
    """The published equations, one after another, from a state dict."""

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def leaky(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, 0.01 * x)

    def residual(x: torch.Tensor, name: str) -> torch.Tensor:
        return x + conv(leaky(conv(x, f"{name}.first")), f"{name}.second")

    highs, current = [], picture  # h_0 ... h_(L-1), fine to coarse
    for _ in range(bands):
        smaller = pyramid.reduce(current)
        highs.append(current - pyramid.expand(smaller, current.shape[-2:]))
        current = smaller
    low = current
    x = conv(low, "low.enter")
    x = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    x = leaky(conv(leaky(x), "low.widen"))
    for number in range(5):
        x = residual(x, f"low.blocks.{number}")
    translated = torch.tanh(low + conv(leaky(conv(x, "low.narrow")), "low.leave"))
    size = highs[-1].shape[-2:]
    x = torch.cat([highs[-1], F.interpolate(low, size=size), F.interpolate(translated, size=size)], 1)
    x = leaky(conv(x, "masks.enter"))
    for number in range(3):
        x = residual(x, f"masks.blocks.{number}")
    mask = conv(x, "masks.leave")
    result = translated
    for number, high in enumerate(reversed(highs)):
        mask = F.interpolate(mask, size=high.shape[-2:])
        mask = conv(leaky(conv(mask, f"masks.refine.{number}.0")), f"masks.refine.{number}.2")
        result = pyramid.expand(result, high.shape[-2:]) + high * mask
    return result


@pytest.mark.parametrize("bands", [3, 4, 5])
@pytest.mark.parametrize("size", [(64, 96), (75, 51)])
def test_the_output_is_that_of_the_equations(bands: int, size: tuple[int, int]) -> None:
    torch.manual_seed(bands)
    net, picture = LPTN(bands=bands), 2 * torch.rand(2, 3, *size) - 1
    with torch.no_grad():
        found, expected = net(picture), straightforward(picture, net.state_dict(), bands)
    assert found.shape == picture.shape
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (8, 9)])
def test_the_smallest_pictures_are_translated(size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert LPTN(bands=3)(torch.zeros(1, 3, *size)).isfinite().all()


def test_what_cannot_be_decomposed_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        LPTN(bands=5)(torch.zeros(1, 3, 31, 400))
