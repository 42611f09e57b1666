"""Muon: momentum whose every update is orthogonalised, for the matrices of pointwise convolutions.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. torch.optim.Muon takes 2-D parameters
only; ours are the (D, C, 1, 1) weights of convolutions, taken as D x C matrices.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lapic.codec.model.codec_weights import default_dtype

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of Jordan et al., for five steps


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Roughly U V^T of the singular value decomposition U S V^T of a (D, C) matrix, or of each of a stack (N, D, C), by
    Newton-Schulz iterations, in bfloat16 unless the processor emulates it: all singular values end between about
    0.7 and 1.2."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.float() if default_dtype(matrix.device) == torch.float32 else matrix.bfloat16()
    product = torch.addmm if x.ndim == 2 else torch.baddbmm
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = product(x, product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, scaled by sqrt(max(1, D / C)).

    Args:
        params: weights of two or more dimensions; all but the first are flattened.
        lr: spectral size of an update. momentum: decay of the momentum.

    Attributes:
        has_local_gradients: whether each process of a distributed run learns from its own gradients (`training.loop`).
    """

    def __init__(self, params: Iterable[Any], lr: float = 5e-3, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.has_local_gradients = False

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        """One update of every parameter that has a gradient. In a distributed run whose gradients are equal
        everywhere, each process orthogonalises its part of the updates, and all of them sum the results."""
        shared = dist.is_initialized() and not self.has_local_gradients
        rank, count = (dist.get_rank(), dist.get_world_size()) if shared else (0, 1)
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            updates = [self._momentum(weight, group["momentum"]) for weight in weights]
            by_size = sorted(range(len(weights)), key=lambda number: updates[number].numel())
            for place, number in enumerate(by_size):
                mine = place % count == rank
                updates[number] = orthogonalise(updates[number]) if mine else torch.zeros_like(updates[number])
            if count > 1:
                updates = _summed(updates)
            for weight, update in zip(weights, updates, strict=True):
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                weight.add_(update.reshape(weight.shape), alpha=-group["lr"] * scale)

    def _momentum(self, weight: Tensor, decay: float) -> Tensor:
        """Take the gradient of a weight into its momentum and return the direction of Nesterov's step, (D, C)."""
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].mul_(decay).add_(weight.grad)
        return (weight.grad + decay * state["momentum"]).flatten(1)


class StackedMuon:
    """`Muon` for many matrices of few shapes: those of one shape are one stack, and the learning rate is a tensor, so
    that a CUDA graph can replay it."""

    def __init__(self, muon: Muon) -> None:
        shapes: dict[tuple[int, int], list[Tensor]] = {}
        for group in muon.param_groups:
            for weight in group["params"]:
                shapes.setdefault((weight.shape[0], weight[0].numel()), []).append(weight)
        self.weights = list(shapes.values())
        self.decay = muon.param_groups[0]["momentum"]
        self.lr_scale = muon.param_groups[0]["lr_scale"]
        self.momenta = [torch.zeros(len(some), *shape, device=some[0].device) for shape, some in shapes.items()]

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """One update at a learning rate. Values of a gradient that are not finite count as 0."""
        for weights, momentum in zip(self.weights, self.momenta, strict=True):
            gradient = torch.stack([weight.grad.flatten(1) for weight in weights]).nan_to_num(0, 0, 0)  # (N, D, C)
            momentum.mul_(self.decay).add_(gradient)
            update = orthogonalise(gradient + self.decay * momentum)
            shape = max(1.0, momentum.shape[1] / momentum.shape[2]) ** 0.5
            update = update.float() * (-self.lr_scale * shape * rate)
            torch._foreach_add_(weights, [one.reshape(weights[0].shape) for one in update.unbind()])


def _summed(parts: list[Tensor]) -> list[Tensor]:
    """The tensors summed over all processes, as one message."""
    flat = torch.cat([part.flatten() for part in parts])
    dist.all_reduce(flat)
    pieces = flat.split([part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]
