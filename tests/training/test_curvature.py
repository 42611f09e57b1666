import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from lapic.codec.model.codec_weights import load
from lapic.training.curvature import with_curvature


def test_a_linear_synthesis_bends_by_the_norm_of_its_columns(coffee: np.ndarray) -> None:
    model = load("photo")
    transforms = copy.deepcopy(model.transforms)
    for layer in (transforms.synthesis.leave, transforms.synthesis.quarter.leave):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    pixels = torch.from_numpy(coffee[:192, :256].copy()).permute(2, 0, 1)[None]
    found = with_curvature(replace(model, transforms=transforms), pixels).curvature
    columns = transforms.synthesis.linear.weight.square().sum((0, 2, 3))  # (M,)
    assert found.shape == (model.config.levels, model.config.latent)
    assert (found[3:] / columns - 1).abs().mean().item() < 0.1
    assert found[0].std().item() < 0.2 * found[3].std().item()


def test_the_shipped_curvatures_are_those_of_the_shipped_synthesis(coffee: np.ndarray) -> None:
    model = load("photo")
    pixels = torch.from_numpy(coffee[:192, :256].copy()).permute(2, 0, 1)[None]
    found = with_curvature(model, pixels).curvature[4]
    assert torch.corrcoef(torch.stack([found, model.curvature[4]]))[0, 1].item() > 0.8
    assert found.mean().item() == pytest.approx(model.curvature[4].mean().item(), rel=0.3)
