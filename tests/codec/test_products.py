import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lapic.codec.exact import hyper, products


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 999), st.integers(1, 40), st.integers(1, 64), st.integers(1, 70), st.sampled_from([127, 1023]))
def test_equals_integer_arithmetic(seed: int, rows: int, inner: int, columns: int, largest: int) -> None:
    inner = min(inner, 2**24 // (largest * products.LARGEST))
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-largest, largest + 1, (rows, inner), generator=generator)
    x = torch.randint(-products.LARGEST, products.LARGEST, (2, inner, columns), generator=generator)
    x[0] = x[0].sign() * products.LARGEST - (x[0] > 0).long()  # the extremes
    found = products.product(weight.float(), x.float())
    assert found.dtype == torch.float32
    expected = torch.einsum("dc,bcn->bdn", weight, x)
    assert torch.equal(found.double(), expected.float().double())


@pytest.mark.parametrize("at_hand", [False, True])
def test_bytes_are_a_matter_of_speed_only(at_hand: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if at_hand and not products._multiplies_bytes():
        pytest.skip("this processor multiplies no bytes exactly")
    calls = []
    multiply = torch._int_mm
    monkeypatch.setattr(products, "_multiplies_bytes", lambda: at_hand)
    monkeypatch.setattr(products, "_bytes_are_faster", lambda: True)
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: calls.append(1) or multiply(a, b))
    weight, x = torch.randint(-127, 128, (5, 64)).float(), torch.randint(0, 2048, (1, 64, 33)).float()
    assert torch.equal(products.product(weight, x), weight @ x)
    assert len(calls) == 2 * at_hand
    assert torch.equal(products.product(weight, x % 128), weight @ (x % 128))
    assert len(calls) == 3 * at_hand  # no activation is beyond a byte
    products.product(weight * 8, x)
    products.product(weight.double(), x.double())
    assert products.product(weight.clone().requires_grad_(), x).requires_grad
    products.product(weight, x.requires_grad_())
    assert len(calls) == 3 * at_hand


def test_weights_that_change_are_seen() -> None:
    weight, x = torch.randint(-127, 128, (5, 64)).float(), torch.randint(0, 2048, (1, 64, 33)).float()
    for _ in range(2):
        assert torch.equal(products.product(weight, x), weight @ x)
        weight[0] = 3
        assert torch.equal(products.product(weight, x), weight @ x)
        weight[1] = 200  # beyond a byte


def test_a_processor_that_overflows_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def saturating(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """As AVX2 without VNNI: a made unsigned, two products added in 16 bits."""
        a, b = a.long() + 128, b.long()
        pairs = torch.einsum("dkp,kpn->dkn", a.unflatten(1, (-1, 2)), b.unflatten(0, (-1, 2)))
        return (pairs.clamp(-(2**15), 2**15 - 1).sum(1) - 128 * b.sum(0)).int()

    products._multiplies_bytes.cache_clear()
    monkeypatch.setattr(torch, "_int_mm", saturating)
    try:
        assert not products._multiplies_bytes()
    finally:
        products._multiplies_bytes.cache_clear()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 999), st.integers(1, 20), st.integers(1, 40), st.integers(1, 40))
def test_filters_equal_integer_arithmetic(seed: int, channels: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, products.LARGEST, (1, channels, height, width), generator=generator)
    weight = torch.randint(-900, 901, (channels, 9), generator=generator)
    bias = torch.randint(-(2**17), 2**17, (channels,), generator=generator)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    taps = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)  # (1, C, h, w, 9)
    expected = (taps * weight[:, None, None]).sum(4) + bias[:, None, None]
    for dtype in (torch.float32, torch.float64):  # by oneDNN where it is exact, and by shifted products
        found = hyper.depthwise(x.to(dtype), weight.to(dtype), bias.to(dtype))
        assert torch.equal(found.double(), expected.double())


def test_a_convolution_that_rounds_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    convolution = torch.mkldnn_convolution
    products._convolves.cache_clear()
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda *given: convolution(*given) * (1 + 2**-22))
    try:
        assert not products._convolves()
    finally:
        products._convolves.cache_clear()
