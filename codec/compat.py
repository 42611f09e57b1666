"""The one place that makes torchvision, and CompressAI which needs it, importable beside a CPU-only torch."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

_kept: list[Any] = []


def import_torchvision() -> ModuleType:
    """Import torchvision (1 s); for training and evaluation only, never on the way of encode and decode.

    torchvision's wheel for Linux on x86 is built for CUDA. Beside a CPU-only torch its C++ library does not load, and
    its import fails with "operator torchvision::nms does not exist", because it registers fake kernels for operators
    that this library would have defined. Then the two schemas are defined here; nothing ever calls the operators. They
    are not defined before the first attempt: where the library loads, a second definition ends the process.

    Raises:
        ModuleNotFoundError: torchvision is not installed.
        RuntimeError: it does not fit torch for another reason.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # it is there in part
        _define_operators()
        import torchvision

    return torchvision


def _define_operators() -> None:
    """Define the schemas of torchvision's operators for which it registers fake kernels."""
    from torch import library

    schemas = library.Library("torchvision", "DEF")
    schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(schemas)  # the definitions last only as long as this object


def import_compressai() -> ModuleType:
    """Import CompressAI (1-3 s), which imports torchvision.

    Raises:
        ModuleNotFoundError: CompressAI is not installed (extra `training` or `evaluation`).
    """
    if importlib.util.find_spec("compressai") is None:
        raise ModuleNotFoundError("CompressAI is missing: pip install 'lapic[training]'", name="compressai")
    import_torchvision()
    import compressai

    return compressai
