"""The one place that makes torchvision, and CompressAI which needs it, importable beside a CPU-only torch."""

import importlib.util
from types import ModuleType


def import_torchvision() -> ModuleType:
    """Import torchvision (1 s); for training and evaluation only, never on the way of encode and decode.

    torchvision's Linux wheel is built for CUDA. Beside a CPU-only torch its import fails with "operator
    torchvision::nms does not exist", because it registers fake kernels for operators that its C++ library did not
    define. Defining the two schemas first cures that; nothing here ever calls the operators.

    Raises:
        ModuleNotFoundError: torchvision is not installed.
    """
    import torch

    if torch.version.cuda is None and not hasattr(torch.ops.torchvision, "nms"):
        from torch import library

        schemas = library.Library("torchvision", "DEF")
        schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_torchvision.schemas = schemas  # the definitions last only as long as this object
    import torchvision

    return torchvision


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
