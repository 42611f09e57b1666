"""The pyramid translator: pyramid in, pyramid out, at a cost of at most 25 kMAC/pixel, tileable.

LPTN (codec.lptn) multiplies detail bands by masks, and so can weaken or strengthen what is there, but neither remove a
JPEG block's edge nor add what was lost. Here every band gets a multiplicative mask AND an additive residual, all
predicted at 1/8 and 1/16 resolution in the blocks of codec.network. Nothing is normalised over the picture, so a crop
of the result is the result of a crop that is larger by `halo`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.network import Block
from codec.pyramid import collapse, decompose

UNIT = 16  # edges of the network's input are multiples of this
BANDS = (3, 12, 48, 192)  # channels that make a band at 1/8, 1/4, 1/2 and 1/1 of the size, as seen at 1/8


@dataclass(frozen=True)
class TranslatorConfig:
    """Width and depth, and the tasks that share the network, each with its own modulation."""

    tasks: tuple[str, ...]
    fine: int = 192  # width at 1/8
    coarse: int = 256  # width at 1/16
    fine_blocks: int = 2  # before the coarse ones, and as many after them
    coarse_blocks: int = 4


def halo(config: TranslatorConfig) -> int:
    """How many pixels away from a pixel the network can see: 16 for each block at 1/16, 8 for each at 1/8, the cells
    of 16 themselves and the pyramid's filters."""
    return 16 * config.coarse_blocks + 16 * config.fine_blocks + 3 * UNIT


class TaskModulation(nn.Module):
    """x (1 + a) + b with a row of a and b for each task."""

    def __init__(self, channels: int, tasks: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(tasks, 2 * channels))

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        """x (B, C, h, w) and task numbers (B,) -> (B, C, h, w)."""
        scale, shift = self.table[task].to(x.dtype)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(x + shift, x, scale)


class Translator(nn.Module):
    """The network. Its untrained output is its input."""

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.config = config
        fine, coarse, tasks = config.fine, config.coarse, len(config.tasks)
        self.enter = nn.Conv2d(192, fine, 1)
        self.enter_task = TaskModulation(fine, tasks)
        self.before = nn.Sequential(*(Block(fine) for _ in range(config.fine_blocks)))
        self.down = nn.Conv2d(4 * fine, coarse, 1)
        self.coarse_task = TaskModulation(coarse, tasks)
        self.coarse = nn.Sequential(*(Block(coarse) for _ in range(config.coarse_blocks)))
        self.up = nn.Conv2d(coarse, 4 * fine, 1)
        self.after_task = TaskModulation(fine, tasks)
        self.after = nn.Sequential(*(Block(fine) for _ in range(config.fine_blocks)))
        self.leave = nn.Conv2d(fine, 2 * sum(BANDS), 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def features(self, picture: Tensor) -> Tensor:
        """Picture (B, 3, H, W) -> the first features (B, fine, H/8, W/8)."""
        return self.enter(F.pixel_unshuffle(picture, 8).to(self.enter.weight.dtype))

    def change(self, x: Tensor) -> Tensor:
        """The last features (B, fine, h, w) -> masks and residuals of all bands (B, 510, h, w)."""
        return self.leave(x)

    def forward(self, picture: Tensor, task: Tensor, strength: float = 1.0) -> Tensor:
        """Translate.

        Args:
            picture: (B, 3, H, W) in -1..1, H and W multiples of 16.
            task: (B,) numbers into `config.tasks`.
            strength: 0..1, the share of the change that is made.
        """
        x = self.before(self.enter_task(self.features(picture), task))  # (B, fine, H/8, W/8)
        deep = self.coarse_task(self.down(F.pixel_unshuffle(x, 2)), task)  # (B, coarse, H/16, W/16)
        x = x + F.pixel_shuffle(self.up(self.coarse(deep)), 2)  # (B, fine, H/8, W/8)
        change = self.change(self.after(self.after_task(x, task))).float()  # (B, 510, H/8, W/8)
        masks, residuals = (_bands(part) for part in change.chunk(2, dim=1))
        pyramid = decompose(picture)
        return collapse(
            [
                band + strength * (band * mask + residual)
                for band, mask, residual in zip(pyramid, masks, residuals, strict=True)
            ]
        )


def _bands(x: Tensor) -> list[Tensor]:
    """(B, 255, h, w) -> the four bands (B, 3, ., .) at h x w, 2h x 2w, 4h x 4w and 8h x 8w."""
    parts = x.split(BANDS, dim=1)
    return [F.pixel_shuffle(part, 2**level) if level else part for level, part in enumerate(parts)]
