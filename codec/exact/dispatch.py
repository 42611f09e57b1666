"""Which arithmetic computes the exact layers on a device."""

import importlib.util
from functools import cache

import torch

from lapic.codec.exact.hyper import EXACT, Arithmetic


@cache
def runs_kernels(device: torch.device) -> bool:
    """Whether our kernels run there: on a GPU, if Triton is at hand, which comes with torch for CUDA."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


def arithmetic_on(device: torch.device) -> Arithmetic:
    """How the exact layers are computed there: by kernels, if they run."""
    if runs_kernels(device):
        from lapic.codec.exact.kernels import DEVICE

        return DEVICE
    return EXACT
