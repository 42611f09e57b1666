"""Isolation of the codec's calls from the torch settings of the host program.

Bytes and pixels must not depend on the calling program. Settings of a thread (autocast, gradients, inference mode, the
default device, the number of threads) are set for the duration of a call. Settings of the process are changed only if
the host has changed them and they affect results: by the first of several simultaneous calls, and the last one restores
them. The default dtype is never changed: all tensors are created with an explicit one.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, ParamSpec, TypeVar

from lapic.codec.threads import threads_of_call

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

PRECISE = ("ieee", "none", "highest")  # torch's names for float32 products computed in float32
FPMATH = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")  # by which oneDNN computes them in less, on ARM
STRICT = "STRICT"  # their value without effect


def isolated(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A function, or a generator, whose code runs within `isolation`."""
    if isgeneratorfunction(function):
        return _isolated_generator(function)

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with isolation():
            return function(*args, **kwargs)

    return call


def _isolated_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `isolated`; the isolation ends at each yield and begins again after it."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Iterator[Any]:
        generator = function(*args, **kwargs)
        try:
            while True:
                with isolation():
                    try:
                        value = next(generator)
                    except StopIteration:
                        return
                yield value
        finally:
            generator.close()

    return call


@contextmanager
def isolation() -> Iterator[None]:
    """A context in which torch computes with its default settings and without gradients, see above."""
    import torch

    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if torch.is_grad_enabled():
            stack.enter_context(torch.no_grad())
        for device_type in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_process_wide.held())
        stack.enter_context(threads_of_call())
        yield


@dataclass(frozen=True)
class _Setting:
    """A setting of the process: an attribute, and the values with which results are right. If it has another value, the
    first of these is set."""

    owner: Any
    name: str
    accepted: tuple[Any, ...]

    def get(self) -> Any:
        """Its value."""
        return getattr(self.owner, self.name)

    def restore(self, value: Any) -> None:
        """Set a former value. A precision that was inherited from a general setting is inherited again."""
        if self.name == "fp32_precision":
            setattr(self.owner, self.name, "none")
            if self.get() == value:
                return
        setattr(self.owner, self.name, value)


class _Legacy:
    """The precision of products in torch up to 2.8, as an attribute like its later settings."""

    @property
    def precision(self) -> str:
        """One of highest, high, medium."""
        import torch

        return torch.get_float32_matmul_precision()

    @precision.setter
    def precision(self, value: str) -> None:
        import torch

        torch.set_float32_matmul_precision(value)


class _Deterministic:
    """Whether torch uses only deterministic algorithms, as an attribute: (enabled, only warns)."""

    @property
    def mode(self) -> tuple[bool, bool]:
        """The arguments of `torch.use_deterministic_algorithms`."""
        import torch

        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    @mode.setter
    def mode(self, value: tuple[bool, bool]) -> None:
        import torch

        torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _settings(cuda: bool) -> list[_Setting]:
    """The settings that change what the codec computes on a CPU, and with `cuda` those of GPUs too."""
    from torch.backends import cuda as on_cuda
    from torch.backends import cudnn, mkldnn

    settings = [_Setting(mkldnn, "enabled", (True,))]
    if hasattr(mkldnn, "matmul"):
        settings += [_Setting(part, "fp32_precision", PRECISE) for part in (mkldnn.matmul, mkldnn.conv)]  # type: ignore[attr-defined]
        of_cuda = [
            _Setting(on_cuda.matmul, "fp32_precision", PRECISE),
            _Setting(cudnn.conv, "fp32_precision", ("tf32",)),  # type: ignore[attr-defined]
        ]
    else:
        settings.append(_Setting(_Legacy(), "precision", PRECISE[::-1]))
        of_cuda = [_Setting(cudnn, "allow_tf32", (True,))]
    of_cuda += [
        _Setting(on_cuda.matmul, "allow_fp16_reduced_precision_reduction", (True,)),
        _Setting(cudnn, "benchmark", (False,)),
        _Setting(cudnn, "deterministic", (False,)),
        _Setting(_Deterministic(), "mode", ((False, False), (False, True))),
    ]
    return settings + of_cuda * cuda


class _ProcessWide:
    """The settings of the process, held while a call runs."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls = 0
        self.before: dict[_Setting, Any] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """The context of a call. A value that the host sets during a call is kept afterwards."""
        import torch

        with self.lock:
            self.calls += 1
            for setting in _settings(torch.cuda.is_available()):
                value = setting.get()
                if value not in setting.accepted:
                    self.before[setting] = value
                    setattr(setting.owner, setting.name, setting.accepted[0])
        try:
            yield
        finally:
            with self.lock:
                self.calls = max(0, self.calls - 1)  # a call that began before a fork is not counted after it
                if self.calls == 0:
                    self.release()

    def in_child(self) -> None:
        """Reset in a forked process, in which the calls of other threads do not exist."""
        self.lock = threading.Lock()
        self.calls = 0
        self.release()

    def release(self) -> None:
        """Restore the settings that were changed, unless the host has changed them again."""
        for setting, value in self.before.items():
            if setting.get() == setting.accepted[0]:
                setting.restore(value)
        self.before = {}


_process_wide = _ProcessWide()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process_wide.in_child)


def keeps_float32(device_type: str) -> bool:
    """Whether products of float32 matrices are computed in float32 on a device as torch is set now, so that sums of
    integers up to 2^24 are exact."""
    import torch

    if torch.compiler.is_compiling():  # a step of training, which need not be exact
        return True
    if device_type == "cpu" and any((os.environ.get(name) or STRICT).upper() != STRICT for name in FPMATH):
        return False
    backend = torch.backends.cuda if device_type == "cuda" else torch.backends.mkldnn
    if not hasattr(torch.backends.mkldnn, "matmul"):
        return torch.get_float32_matmul_precision() in PRECISE
    return backend.matmul.fp32_precision in PRECISE
