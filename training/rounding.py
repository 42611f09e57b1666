"""Large matrices of a codec rounded to the bytes in which its weights file holds them."""

from typing import Any

import torch
from torch import Tensor, nn

from lapic.codec.model.weights_file import is_in_bytes, of_bytes, rows_of_bytes
from lapic.codec.nets.second import Pointwise
from lapic.training.rate_distortion import TrainableCodec, normalise, random_qualities


@torch.no_grad()
def round_to_bytes(model: TrainableCodec, pixels: Tensor, qualities: tuple[int, int]) -> None:
    """Round the large matrices of the transforms, in place.

    The biases take back by how much that moves the mean of each channel of a layer's output (bias correction: Nagel et
    al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 4.2). What is
    rounded already stays as it is.

    Args:
        pixels: training pictures (B, 3, H, W), uint8, edges multiples of 64.
        qualities: the lowest and the highest that the model is for.
    """
    layers = {
        name: layer
        for name, layer in model.transforms.named_modules()
        if isinstance(layer, nn.Conv2d) and is_in_bytes(f"{name}.weight", layer.weight)
    }
    means = _mean_inputs(model, layers, pixels, qualities)
    for name, layer in layers.items():
        rounded = of_bytes(*rows_of_bytes(layer.weight))
        assert layer.bias is not None  # only linear paths have none
        layer.bias += (layer.weight - rounded).flatten(1) @ means[name]
        layer.weight.copy_(rounded)


def _mean_inputs(
    model: TrainableCodec, layers: dict[str, nn.Conv2d], pixels: Tensor, qualities: tuple[int, int]
) -> dict[str, Tensor]:
    """The mean of each channel of what the layers see when the model codes pictures, (C,) by their names."""
    means: dict[str, Tensor] = {}
    if len(pixels) == 1:
        pixels = pixels.expand(2, -1, -1, -1)  # features of a single picture would be made in strips

    def hook_of(name: str, axis: int) -> Any:
        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            means[name] = given[0].transpose(axis, -1).flatten(0, -2).float().mean(0)

        return hook

    hooks = [
        layer.register_forward_pre_hook(hook_of(name, -1 if isinstance(layer, Pointwise) else 1))
        for name, layer in layers.items()
    ]
    try:
        quality = random_qualities(pixels, *qualities, torch.Generator().manual_seed(0))
        gain = model.transforms.gain(quality)
        gained = model.transforms.analysis(normalise(pixels)) * gain
        model.hyper_latent(gained)
        model.transforms.synthesis(gained.round() / gain, quality)
    finally:
        for hook in hooks:
            hook.remove()
    return means
