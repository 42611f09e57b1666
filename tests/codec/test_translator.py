import pytest
import torch
from torch import nn

from lapic.codec.evaluation.cost import SIZE, macs
from lapic.codec.nets.translator import Translator, TranslatorConfig, halo

CONFIG = TranslatorConfig(tasks=("a", "b"))


@pytest.fixture(scope="module")
def net() -> Translator:
    torch.manual_seed(0)
    made = Translator(CONFIG).eval()
    for name, value in made.named_parameters():
        if "leave" in name or "table" in name:
            nn.init.normal_(value, 0, 0.05)
    return made.requires_grad_(False)


def test_the_untrained_network_changes_nothing() -> None:
    picture = 2 * torch.rand(1, 3, 48, 64) - 1
    with torch.no_grad():
        assert torch.allclose(Translator(CONFIG)(picture, torch.tensor([1])), picture, atol=1e-5)


def test_strength_scales_the_change(net: Translator) -> None:
    picture, task = 2 * torch.rand(1, 3, 64, 64) - 1, torch.tensor([0])
    none, half, full = (net(picture, task, strength) - picture for strength in (0.0, 0.5, 1.0))
    assert none.abs().max() < 1e-5
    assert full.abs().max() > 0.05
    assert torch.allclose(2 * half, full, atol=1e-5)


def test_tasks_differ(net: Translator) -> None:
    picture = (2 * torch.rand(1, 3, 32, 32) - 1).repeat(2, 1, 1, 1)
    a, b = net(picture, torch.tensor([0, 1]))
    assert (a - b).abs().max() > 0.01


def test_a_tile_with_its_halo_gives_what_the_whole_gives(net: Translator) -> None:
    picture, task = 2 * torch.rand(1, 3, 256, 288) - 1, torch.tensor([0])
    whole, margin = net(picture, task), halo(CONFIG)
    assert margin <= 96
    top, left, edge = 96, 112, 64
    part = net(picture[:, :, top - margin : top + edge + margin, left - margin : left + edge + margin], task)
    inner = part[:, :, margin : margin + edge, margin : margin + edge]
    assert torch.allclose(inner, whole[:, :, top : top + edge, left : left + edge], atol=1e-5)


def test_it_costs_at_most_25_kmac_per_pixel(net: Translator) -> None:
    assert 15 < macs(net, torch.zeros(1, 3, SIZE, SIZE), torch.tensor([0])) <= 25
