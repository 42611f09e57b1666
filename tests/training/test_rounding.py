"""Matrices rounded to bytes, with the biases that make up for it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lapic.codec.model import weights_file
from lapic.training.data import Crops
from lapic.training.export import trainable
from lapic.training.rate_distortion import TrainableCodec, normalise
from lapic.training.rounding import round_to_bytes
from tests.conftest import EXAMPLES

NAMES = ("eye", "fast")


def pictures(seed: int) -> Tensor:
    return torch.from_numpy(Crops(Path(EXAMPLES), 128, seed=seed).batch(0, 4))


def disturbed(name: str) -> TrainableCodec:
    """A model whose matrices are no bytes: each number is a little larger or smaller, and rows have outliers."""
    model, _ = trainable(name)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in model.transforms.named_parameters():
            if weights_file.is_in_bytes(key, value):
                value += 0.003 * value.std() * torch.randn(value.shape, generator=generator)
                value[:, 0] += 4 * value.std()
    return model


def outputs(model: TrainableCodec) -> list[Tensor]:
    """What the analysis and the synthesis make of other pictures."""
    pixels = normalise(pictures(2))
    quality = torch.full((len(pixels),), 40 * 256)
    with torch.no_grad():
        y = model.transforms.analysis(pixels)
        return [y, model.transforms.synthesis.picture(y, quality)]


@pytest.mark.parametrize("name", NAMES)
def test_biases_make_up_for_rounding(name: str) -> None:
    exact, corrected, plain = (disturbed(name) for _ in range(3))
    round_to_bytes(corrected, pictures(1), (1, 60))
    weights = {
        key: value for key, value in corrected.transforms.state_dict().items() if weights_file.is_in_bytes(key, value)
    }
    plain.transforms.load_state_dict(weights, strict=False)
    expected = outputs(exact)
    for right, better, worse in zip(expected, outputs(corrected), outputs(plain), strict=True):
        assert (better - right).square().mean() < 0.9 * (worse - right).square().mean()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 3])
def test_what_is_rounded_stays(name: str, count: int) -> None:
    model = disturbed(name)
    round_to_bytes(model, pictures(1)[:count], (1, 60))
    before = {key: value.clone() for key, value in model.transforms.state_dict().items()}
    round_to_bytes(model, pictures(2), (1, 60))
    after = model.transforms.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
