"""Muon: momentum whose every update is orthogonalised, for the matrices of pointwise convolutions.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. torch.optim.Muon takes 2-D parameters
only; ours are the (D, C, 1, 1) weights of convolutions, taken as D x C matrices.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of Jordan et al., for five steps


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Roughly U V^T of the singular value decomposition U S V^T of a (D, C) matrix, by Newton-Schulz iterations in
    bfloat16: all singular values end between about 0.7 and 1.2."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, scaled by sqrt(max(1, D / C)).

    Args:
        params: weights of two or more dimensions; all but the first are flattened.
        lr: spectral size of an update. momentum: decay of the momentum.
    """

    def __init__(self, params: Iterable[Any], lr: float = 5e-3, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                update = (weight.grad + group["momentum"] * state["momentum"]).flatten(1)
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                weight.add_(orthogonalise(update).reshape(weight.shape), alpha=-group["lr"] * scale)
