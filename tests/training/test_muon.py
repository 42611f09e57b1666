import pytest
import torch

from training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(64, 64), (48, 200), (200, 48)])
def test_orthogonalise_evens_out_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.logspace(0, -1, min(shape))
    matrix = u * values @ v
    found = orthogonalise(matrix)
    after = torch.linalg.svdvals(found)
    assert after.min() > 0.5
    assert after.max() < 1.35
    assert (found * (u @ v)).sum() > 0.95 * found.norm() * (u @ v).norm()  # the same directions


def test_muon_solves_least_squares() -> None:
    torch.manual_seed(2)
    inputs, wanted = torch.randn(500, 24), torch.randn(16, 24)
    weight = torch.nn.Parameter(torch.zeros(16, 24, 1, 1))
    optimiser = Muon([weight], lr=0.1)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        loss = (inputs @ weight[:, :, 0, 0].T - inputs @ wanted.T).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (weight[:, :, 0, 0] - wanted).abs().max() < 0.05


def test_its_state_is_kept() -> None:
    weight = torch.nn.Parameter(torch.ones(4, 3))
    weight.grad = torch.eye(4)[:, :3].contiguous()
    optimiser = Muon([weight])
    optimiser.step()
    copied = Muon([torch.nn.Parameter(torch.ones(4, 3))])
    copied.load_state_dict(optimiser.state_dict())
    assert torch.equal(next(iter(copied.state.values()))["momentum"], weight.grad)
