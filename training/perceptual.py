"""Losses by the features of a classification network: LPIPS, content and style.

All take pictures (B, 3, H, W) in -1..1 and need the features of SqueezeNet 1.1, which torchvision downloads or a file
holds (codec.evaluation.metrics.lpips_model).
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from lapic.codec.evaluation.metrics import lpips_model


class Perceptual(nn.Module):
    """LPIPS (Zhang et al., CVPR 2018) as a loss."""

    def __init__(self, backbone: Path | None = None) -> None:
        super().__init__()
        self.lpips = lpips_model("squeeze", backbone)

    def each(self, made: Tensor, target: Tensor) -> Tensor:
        """Distances (B,) of pictures (B, 3, H, W) in -1..1."""
        with torch.autocast(made.device.type, enabled=False):
            return self.lpips(made.float(), target.float()).flatten()

    def forward(self, made: Tensor, target: Tensor) -> Tensor:
        """Mean distance over the batch."""
        return self.each(made, target).mean()


def gram(features: Tensor) -> Tensor:
    """Gram matrices of features (B, C, h, w), divided by C h w: (B, C, C) (Gatys, Ecker, Bethge, CVPR 2016)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


class Style(nn.Module):
    """Feed-forward style (Johnson, Alahi, Fei-Fei, "Perceptual Losses for Real-Time Style Transfer", ECCV 2016): the
    features of the content, the Gram matrices of one picture of the style, (1, 3, h, w) in -1..1."""

    def __init__(self, style: Tensor, weight: float = 100.0, backbone: Path | None = None) -> None:
        super().__init__()
        net = lpips_model("squeeze", backbone)
        self.scaling, self.layers, self.weight = net.scaling_layer, net.net, weight
        self.target = [gram(layer) for layer in self._features(style)]

    def _features(self, picture: Tensor) -> list[Tensor]:
        with torch.autocast(picture.device.type, enabled=False):
            return list(self.layers(self.scaling(picture.float())))

    def forward(self, made: Tensor, source: Tensor) -> Tensor:
        """Content loss against `source` plus weighted style loss."""
        found, wanted = self._features(made), self._features(source)
        content = (found[2] - wanted[2].detach()).square().mean()
        style = sum(
            (gram(layer) - target.to(layer.device)).square().sum() / layer.shape[1]
            for layer, target in zip(found, self.target, strict=True)
        )
        return content + self.weight * style
