"""Pixels as tensors and back."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapic.codec.picture.tiling import LATENT, Rect


def region(pixels: NDArray[np.uint8], rect: Rect, device: torch.device) -> Tensor:
    """The pixels of a rectangle of latents as (1, 3, 16h, 16w) in -1..1, the picture's border repeated outwards."""
    area = rect.times(LATENT)
    part = pixels[area.top : area.bottom, area.left : area.right]
    missing = [(0, area.height - part.shape[0]), (0, area.width - part.shape[1])]
    part = np.pad(part.reshape(*part.shape[:2], -1), [*missing, (0, 0)], mode="edge")
    return to_picture(torch.from_numpy(part).to(device))


def to_picture(pixels: Tensor) -> Tensor:
    """Pixels (H, W, 3 or 1) uint8 as a picture (1, 3, H, W) in -1..1, channels last; `to_pixels` is the inverse."""
    picture = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
    return picture.expand(1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def to_pixels(picture: Tensor, channels: int) -> Tensor:
    """A picture (3, h, w) in -1..1 as uint8 (h, w, 3), or for one channel by the mean of the three (h, w, 1)."""
    if channels == 1:
        picture = picture.mean(0, keepdim=True)
    return to_levels(picture).to(torch.uint8).permute(1, 2, 0)


def to_levels(picture: Tensor) -> Tensor:
    """A picture in -1..1 as grey levels 0..255, whole numbers of the same type and shape."""
    return (picture + 1).mul_(127.5).round_().clamp_(0, 255)
