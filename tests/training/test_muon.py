import pytest
import torch

from lapic.training import muon
from lapic.training.muon import Muon, orthogonalise


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


def test_processes_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two processes orthogonalises some of the matrices; the sum of what they send is all updates."""
    torch.manual_seed(3)
    gradients = [torch.randn(8, 5), torch.randn(6, 6), torch.randn(3, 9)]

    def updates(rank: int | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        weights = [torch.zeros_like(gradient).requires_grad_() for gradient in gradients]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        sent: list[torch.Tensor] = []
        monkeypatch.setattr(muon.dist, "is_initialized", lambda: rank is not None)
        monkeypatch.setattr(muon.dist, "get_rank", lambda: rank)
        monkeypatch.setattr(muon.dist, "get_world_size", lambda: 2)
        monkeypatch.setattr(muon.dist, "all_reduce", sent.append)
        Muon(weights, lr=1.0).step()
        return torch.cat([weight.detach().flatten() for weight in weights]), sent

    (first, [sent_first]), (second, [sent_second]) = updates(0), updates(1)
    assert 0 < (sent_first != 0).sum() < sent_first.numel()
    assert not ((sent_first != 0) & (sent_second != 0)).any()
    assert torch.equal(first + second, updates(None)[0])
