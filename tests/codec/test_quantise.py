import numpy as np
import pytest
import torch

from lapic.codec.exact.quantise import KAPPA, dequantise, quantise, thresholds
from lapic.codec.model.codec_weights import load


def cost(symbol: int, residual: float, counts: np.ndarray) -> float:
    """What `quantise` is to make small, computed from its definition."""
    bits = 24 - np.log2(counts[len(counts) // 2 - 1 + symbol])
    return KAPPA * (residual - symbol) ** 2 + bits


def test_rounding_makes_the_cost_small() -> None:
    tables = load().tables
    threshold = thresholds(tables)
    for index in (5, 20, 40):
        for residual in np.linspace(-2.4, 2.4, 97):
            found = int(quantise(torch.tensor([residual]), torch.tensor([float(index)]), threshold)[0])
            nearest = round(float(residual))
            inward = nearest - int(np.sign(nearest))
            costs = {symbol: cost(symbol, residual, tables.latent[index]) for symbol in (nearest, inward)}
            assert found in costs
            # the thresholds are capped at 0.45 steps, so that a large residual never becomes zero
            assert costs[found] <= min(costs.values()) + 1e-6 or abs(residual) >= abs(nearest) - 0.06


def test_thresholds_are_where_a_magnitude_is_worth_its_bits() -> None:
    tables = load().tables
    found = thresholds(tables)
    assert found.shape == (64, 4)
    assert not found[:, 0].any()
    for row, counts in zip(found.tolist(), tables.latent, strict=True):
        width = len(counts) // 2 - 1
        for magnitude in range(1, 4):
            known = min(magnitude, width)  # a narrow table says nothing of larger ones
            bits = np.log2(counts[width + known - 1] / counts[width + known])
            assert row[magnitude] == pytest.approx(np.clip(bits / (2 * KAPPA), 0, 0.45), abs=1e-6)


def test_small_residuals_become_zero_as_the_rule_says() -> None:
    """Those that are not looked at."""
    generator = torch.Generator().manual_seed(3)
    index = torch.randint(1, 64, (2, 9, 7), generator=generator).float()
    residual = 2 * torch.randn(2, 9, 7, generator=generator)
    residual[0, 0] = torch.tensor([0.5, -0.5, 0.4999999, -0.0, 0.0, 0.50001, -1.5])
    one_by_one = torch.tensor(
        [
            float(quantise(torch.tensor([r, 9.0]), torch.tensor([i, i]), load().threshold)[0])
            for r, i in zip(residual.flatten(), index.flatten(), strict=True)
        ]
    )
    found = quantise(residual, index, load().threshold)
    assert torch.equal(found.flatten(), one_by_one)
    assert not found[residual.abs() <= 0.5].any()
    assert found[residual.abs() > 1.5].all()


def test_large_residuals_survive() -> None:
    index = torch.arange(64.0)
    for value in (1.0, -1.0, 2.0, -3.0, 5.0, 700.0, -32767.0, 1e6):
        found = quantise(torch.full((64,), value), index, load().threshold)
        assert (found[1:] == np.clip(value, -32767, 32767)).all()
        assert found[0] == (0 if abs(value) < 3 else found[1])


def test_centroids_shift_towards_zero_whatever_their_sign() -> None:
    index, symbol = torch.tensor([1.0, 1.0, 2.0, 2.0]), torch.tensor([2.0, -2.0, 1.0, -7.0])
    centroid = torch.zeros(64, 4)
    centroid[1, 2], centroid[2, 1], centroid[2, 3] = 0.25, -0.125, -0.25
    assert dequantise(symbol, index, centroid).tolist() == [1.75, -1.75, 0.875, -6.75]


def test_reconstruction_is_near_the_symbol_and_zero_stays() -> None:
    index = torch.arange(64.0)
    for symbol in (-300.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0):
        found = dequantise(torch.full((64,), symbol), index, load().centroid)
        assert (found - symbol).abs().max() <= 0.5
        assert symbol or not found.any()
        assert (found * symbol >= 0).all()
