import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lapic.codec.nets.pyramid import collapse, decompose, expand, partial_collapses, reduce, shuffle


@settings(deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), levels=st.integers(1, 4), seed=st.integers(0, 999))
def test_collapse_undoes_decompose(height: int, width: int, levels: int, seed: int) -> None:
    picture = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    bands = decompose(picture, levels)
    assert len(bands) == levels + 1
    assert torch.allclose(collapse(bands), picture, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 8), (16, 16)])
def test_reduce_and_expand_keep_constants_and_sizes(size: tuple[int, int]) -> None:
    picture = torch.full((1, 1, *size), 0.7)
    smaller = reduce(picture)
    assert smaller.shape[-2:] == ((size[0] + 1) // 2, (size[1] + 1) // 2)
    assert torch.allclose(smaller, torch.full_like(smaller, 0.7))
    assert torch.allclose(expand(smaller, size), picture)


def test_the_kernel_is_burt_and_adelsons() -> None:
    impulse = torch.zeros(1, 1, 17, 17)
    impulse[..., 8, 8] = 1
    kernel = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    blurred = torch.zeros(17, 17)
    blurred[6:11, 6:11] = kernel[:, None] * kernel
    assert torch.allclose(reduce(impulse)[0, 0], blurred[::2, ::2])
    small = torch.zeros(1, 1, 9, 9)
    small[..., 4, 4] = 1
    spread = torch.zeros(17, 17)
    spread[6:11, 6:11] = 4 * kernel[:, None] * kernel
    assert torch.allclose(expand(small, (17, 17))[0, 0], spread)


def test_partial_collapses_are_smaller_pictures() -> None:
    picture = torch.rand(1, 3, 64, 48)
    pictures = partial_collapses(decompose(picture, 3))
    target = picture
    for found in reversed(pictures):
        assert torch.allclose(found, target, atol=1e-5)
        target = reduce(target)


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_shuffle_is_pixel_shuffle_plane_by_plane(factor: int, order: torch.memory_format) -> None:
    x = torch.randn(2, 3 * factor**2, 5, 7).contiguous(memory_format=order)
    found = shuffle(x, factor)
    assert torch.equal(found, F.pixel_shuffle(x, factor))
    assert found.is_contiguous()
