import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lapic.codec.exact import hyper, products
from lapic.codec.exact.context import run_passes
from lapic.codec.model.codec_weights import load
from lapic.codec.nets import levels
from tests import reference

QUALITIES = [256, 257, 3999, 12800, 25599, 25600]


def random_z(seed: int, rows: int, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    extreme = torch.randint(-63, 64, (1, load().config.hyper, rows, columns), generator=generator)
    calm = (torch.randn(extreme.shape, generator=generator) * 2).round().clamp(-63, 63)
    return torch.where(torch.tensor(seed % 2 == 0), calm, extreme.float())


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_plain_integer_arithmetic(quality: int, seed: int) -> None:
    z = random_z(seed, 3, 2)
    features = hyper.hyper_synthesis(z, torch.tensor([quality]), load().integers)
    exact = reference.Integers({name: tensor.numpy() for name, tensor in load().integers.items()})
    expected_features = exact.hyper_synthesis(z[0].numpy().astype(np.int64), quality)
    assert np.array_equal(features[0].numpy(), expected_features)
    plain = {name: tensor for name, tensor in load().integers.items() if not name.startswith(("odd.", "rest."))}
    coded = run_passes(features, torch.tensor([quality]), plain, lambda part, mean, index: mean)
    expected_mean, expected_index = exact.parameters(exact.sums(expected_features, quality))
    assert np.array_equal(coded.mean[0].numpy(), expected_mean)
    assert np.array_equal(coded.index[0].numpy(), expected_index)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 999), st.sampled_from([torch.float32, torch.float64]), st.sampled_from([1, 2]))
def test_the_same_bits_in_any_order_precision_and_threads(seed: int, dtype: torch.dtype, threads: int) -> None:
    z, quality, weights = random_z(seed, 2, 5), torch.tensor([12800]), load().integers
    expected = hyper.hyper_synthesis(z, quality, weights)
    order = torch.randperm(load().config.hyper_narrow, generator=torch.Generator().manual_seed(seed))
    shuffled = {name: tensor.to(dtype) for name, tensor in weights.items()}
    for name in ("depth2.weight", "depth2.bias"):
        shuffled[name] = shuffled[name][order]
    shuffled["point3.weight"] = shuffled["point3.weight"][:, order]
    rows = (4 * order[:, None] + torch.arange(4)).flatten()
    for name in ("point2.weight", "point2.bias"):
        shuffled[name] = shuffled[name][rows]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = hyper.hyper_synthesis(z.to(dtype), quality, shuffled)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(expected.double(), found.double())


def test_a_batch_equals_its_members() -> None:
    z = torch.cat([random_z(seed, 2, 2) for seed in range(3)])
    quality = torch.tensor([256, 9000, 25600])
    together = hyper.hyper_synthesis(z, quality, load().integers)
    for number in range(3):
        alone = hyper.hyper_synthesis(z[number : number + 1], quality[number : number + 1], load().integers)
        assert torch.equal(together[number : number + 1], alone)


def test_the_shipped_weights_keep_every_sum_exact() -> None:
    hyper.assert_exact(load().integers)
    assert max(hyper.largest_sum(load().integers).values()) < 2**24


@pytest.mark.parametrize("name", ["point1.weight", "depth0.weight", "level.leave"])
def test_weights_that_could_round_are_refused(name: str) -> None:
    weights = dict(load().integers)
    weights[name] = weights[name] + 2.0**24
    with pytest.raises(ValueError, match="exact"):
        hyper.assert_exact(weights)
    weights[name] = load().integers[name] + 0.5
    with pytest.raises(ValueError, match="no integers"):
        hyper.assert_exact(weights)


def test_levels_are_met_and_interpolated() -> None:
    table = torch.arange(8.0)[:, None] * 10
    found = levels.interpolate_levels(table, torch.tensor([256, 25600, 256 + 25344 // 2]))[:, 0]
    assert found.tolist() == [0, 70, 35]


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_a_caller_who_allows_less_precise_products_gets_exact_ones(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_multiplies_bytes", lambda: False)
    z, quality, weights = random_z(1, 4, 4), torch.tensor([12800]), load().integers
    expected = hyper.hyper_synthesis(z, quality, weights)
    seen = set()

    def watching_floor(x: torch.Tensor) -> torch.Tensor:
        seen.add(torch.get_float32_matmul_precision())
        return torch.floor(x)

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = hyper.hyper_synthesis(z, quality, weights, hyper.Arithmetic(floor=watching_floor))
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == {precision}, "the setting is the caller's"
    assert torch.equal(expected, found)


def test_the_nearest_level_changes_midway() -> None:
    step = 25344 / 7
    for level in range(8):
        centre = 256 + level * step
        near = torch.tensor([max(256, int(centre - 0.49 * step)), int(centre), min(25600, int(centre + 0.49 * step))])
        assert levels.nearest_level(near, 8).tolist() == [level] * 3
    assert levels.nearest_level(torch.tensor(QUALITIES), 1).tolist() == [0] * len(QUALITIES)
