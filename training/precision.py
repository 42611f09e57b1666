"""What a run computes on, and in which precision."""

import torch

from lapic.codec.model.codec_weights import default_dtype


def accelerator_of(wanted: str) -> str:
    """Lightning Fabric's name of what a run computes on. For "auto" that is a GPU if there is one that PyTorch's CUDA
    knows, else the CPU: Fabric would take Apple's GPUs too, which have no float64."""
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision_of(wanted: str, accelerator: str) -> str:
    """Lightning Fabric's name of a precision. For "auto" that is bfloat16 autocast where the device computes in that,
    else float32: a processor that emulates bfloat16 takes five times as long. Raises ValueError for float16, whose
    gradients would have to be scaled, and for weights in bfloat16."""
    if wanted.startswith("16") or wanted == "bf16-true":
        raise ValueError(f"networks are not trained at the precision {wanted}: take bf16-mixed or 32-true")
    if wanted != "auto":
        return wanted
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    computes = default_dtype(torch.device("cuda" if on_gpu else "cpu"))
    return "32-true" if computes == torch.float32 else "bf16-mixed"
