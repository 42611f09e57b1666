"""LPTN, layer for layer: Liang, Zeng, Zhang, "High-Resolution Photorealistic Image Translation in Real-Time: A
Laplacian Pyramid Translation Network", CVPR 2021.

The low band goes through a residual network (section 3.2); a mask is predicted at the coarsest detail band from that
band and both low bands, and refined band by band as it is doubled in size; each detail band is multiplied by its mask
(section 3.3). The instance normalisation makes the result depend on the whole picture: a crop of the result is not the
result of a crop, so pictures are translated whole, never in tiles.

Borders are replicated here, as everywhere in lapic; the authors' code reflects them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.nets.pyramid import collapse, decompose

SLOPE = 0.01  # of the leaky rectifiers, PyTorch's default, as in the authors' code


class _Residual(nn.Module):
    """x + conv(leaky(conv(x))), 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(x), SLOPE))


class LowTranslator(nn.Module):
    """The low band: tanh(x + network(x)), (B, 3, h, w) -> (B, 3, h, w)."""

    def __init__(self, blocks: int = 5) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 16, 3, padding=1)
        self.widen = nn.Conv2d(16, 64, 3, padding=1)
        self.blocks = nn.Sequential(*(_Residual(64) for _ in range(blocks)))
        self.narrow = nn.Conv2d(64, 16, 3, padding=1)
        self.leave = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, low: Tensor) -> Tensor:
        """Translate."""
        x = self.enter(low)  # (B, 16, h, w)
        normal = F.instance_norm(x) if x.shape[-2:].numel() > 1 else torch.zeros_like(x)  # no learned scale or shift
        x = F.leaky_relu(normal, SLOPE)
        x = self.blocks(F.leaky_relu(self.widen(x), SLOPE))  # (B, 64, h, w)
        x = self.leave(F.leaky_relu(self.narrow(x), SLOPE))
        return torch.tanh(low + x)


class MaskPredictor(nn.Module):
    """Masks for the detail bands, coarse to fine."""

    def __init__(self, bands: int, blocks: int = 3, channels: int = 1) -> None:
        super().__init__()
        self.enter = nn.Conv2d(9, 64, 3, padding=1)
        self.blocks = nn.Sequential(*(_Residual(64) for _ in range(blocks)))
        self.leave = nn.Conv2d(64, channels, 3, padding=1)
        self.refine = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, 16, 1), nn.LeakyReLU(SLOPE), nn.Conv2d(16, channels, 1))
            for _ in range(bands)
        )

    def forward(self, seen: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
        """(B, 9, h, w), the coarsest detail band and both low bands -> a mask (B, channels, H, W) for each size."""
        mask = self.leave(self.blocks(F.leaky_relu(self.enter(seen), SLOPE)))
        masks = []
        for size, refine in zip(sizes, self.refine, strict=True):
            mask = refine(F.interpolate(mask, size=size))
            masks.append(mask)
        return masks


class LPTN(nn.Module):
    """The network for pictures (B, 3, H, W) in -1..1 of any size of at least 2^bands.

    Args:
        bands: detail bands, the paper's L: 3, 4 or 5; the low band has 1/2^bands of the size.
        mask_channels: 1 as in the paper (616,215 parameters for 3 bands).
    """

    def __init__(self, bands: int = 3, low_blocks: int = 5, mask_blocks: int = 3, mask_channels: int = 1) -> None:
        super().__init__()
        self.bands = bands
        self.low = LowTranslator(low_blocks)
        self.masks = MaskPredictor(bands, mask_blocks, mask_channels)

    def counts(self) -> dict[str, int]:
        """The arguments that make a network like this one."""
        return {
            "bands": self.bands,
            "low_blocks": len(self.low.blocks),
            "mask_blocks": len(self.masks.blocks),
            "mask_channels": self.masks.leave.out_channels,
        }

    def forward(self, picture: Tensor) -> Tensor:
        """Translate. Raises ValueError for pictures that are too small to decompose."""
        if min(picture.shape[-2:]) < 2**self.bands:
            raise ValueError(f"{picture.shape[-1]} x {picture.shape[-2]} is too small for {self.bands} bands")
        low, *details = decompose(picture, self.bands)
        new_low = self.low(low)
        size = details[0].shape[-2:]
        seen = torch.cat([details[0], F.interpolate(low, size=size), F.interpolate(new_low, size=size)], dim=1)
        masks = self.masks(seen, [tuple(band.shape[-2:]) for band in details])
        return collapse([new_low, *(band * mask for band, mask in zip(details, masks, strict=True))])
