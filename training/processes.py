"""What the processes of a distributed run tell each other."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from lapic.bitstream import Error
from lapic.codec.command.failures import reason

Made = TypeVar("Made")


def average_over_processes(fabric: Fabric, modules: Iterable[nn.Module], optimisers: Iterable) -> None:
    """Replace parameters and the tensors in optimisers' states by their means over all processes."""
    states = [value for one in optimisers for state in one.state.values() for value in state.values()]
    parameters = [value for module in modules for value in module.parameters()]
    with torch.no_grad():
        for value in parameters + [one for one in states if isinstance(one, Tensor)]:
            value.copy_(fabric.all_reduce(value, reduce_op="mean"))


def fails_together(fabric: Fabric, make: Callable[[], Made]) -> Made:
    """What `make` returns. Raises its exception, or an `Error` with that of another process: a process that went on
    would wait without end for one that failed."""
    if fabric.world_size == 1:
        return make()
    failure: Exception | None = None
    try:
        made = make()
    except Exception as error:
        failure = error
    reasons: list[str | None] = [None] * fabric.world_size
    torch.distributed.all_gather_object(reasons, reason(failure) if failure else None)
    if failure:
        raise failure
    for number, other in enumerate(reasons, start=1):
        if other:
            raise Error(f"process {number} of {fabric.world_size} failed: {other}")
    return made


def end_group(fabric: Fabric) -> None:
    """End what the processes of a run share. Else its threads may abort a process that exits after the others."""
    if fabric.world_size > 1:
        torch.distributed.destroy_process_group()


def take_from_first(fabric: Fabric, tensors: Iterable[Tensor]) -> None:
    """Replace tensors by those of the first process."""
    if fabric.world_size > 1:
        for tensor in tensors:
            tensor.copy_(fabric.broadcast(tensor))
