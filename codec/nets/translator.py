"""The pyramid translator: pyramid in, pyramid out, at a cost of at most 25 kMAC/pixel, tileable.

LPTN (codec.nets.lptn) multiplies detail bands by masks, and so can weaken or strengthen what is there, but neither
remove a JPEG block's edge nor add what was lost. Here every band gets a multiplicative mask AND an additive residual.
They are predicted from cells of 4x4 pixels, at 1/4 of the size and, between, at 1/8: a small U-Net (Ronneberger,
Fischer, Brox, MICCAI 2015) of the blocks of codec.nets.network. With cells of 8x8 the network would have to learn four
times as many shifts within a cell (docs/notebook/restorers.md). Nothing is normalised over the picture, so a crop of
the result is the result of a crop that is larger by `halo`.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.nets.layers import modulate
from lapic.codec.nets.network import Block
from lapic.codec.nets.pyramid import bands_from, collapse, decompose

CELL = 4  # edge in pixels of a position of the first features
LEVELS = 2  # detail bands: the low band has the size of the first features
BANDS = (3, 12, 48)  # channels that make a band at 1/4, 1/2 and 1/1 of the size, as seen at 1/4
FINEST = BANDS[-1]


@dataclass(frozen=True)
class TranslatorConfig:
    """Width and depth, the tasks that share the network, each with its own modulation, and the channels of what it sees
    beside the picture: at 1/8 of the size, or `finer` times as coarse."""

    tasks: tuple[str, ...]
    widths: tuple[int, ...] = (96, 192)  # at 1/4, 1/8 ... of the size
    blocks: tuple[int, ...] = (2, 2)  # at each size; all but the last again on the way back
    beside: int = 0
    finer: int = 1

    @property
    def unit(self) -> int:
        """Edges of the network's input are multiples of this."""
        return CELL * 2 ** (len(self.widths) - 1)


def halo(config: TranslatorConfig) -> int:
    """How many pixels away from a pixel the network can see: one position for each block, twice where a size is passed
    twice, and the cells themselves and the pyramid's filters."""
    sizes = [CELL * 2**level for level in range(len(config.widths))]
    passes = [2] * (len(sizes) - 1) + [1]
    return sum(s * b * n for s, b, n in zip(sizes, config.blocks, passes, strict=True)) + 2 * config.unit + 2 * CELL


class TaskModulation(nn.Module):
    """x (1 + a) + b with a row of a and b for each task."""

    def __init__(self, channels: int, tasks: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(tasks, 2 * channels))

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        """x (B, C, h, w) and task numbers (B,), or weights of all tasks (B, T) that are mixed -> (B, C, h, w)."""
        return modulate(x, task @ self.table if task.is_floating_point() else self.table[task])


class Stage(nn.Module):
    """Modulation by the task, then blocks."""

    def __init__(self, channels: int, blocks: int, tasks: int) -> None:
        super().__init__()
        self.task = TaskModulation(channels, tasks)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(blocks)))

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        """(B, C, h, w) and tasks as TaskModulation takes them -> (B, C, h, w)."""
        return self.blocks(self.task(x, task))


class Translator(nn.Module):
    """The network. Its untrained output is its input."""

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.config = config
        widths, blocks, tasks = config.widths, config.blocks, len(config.tasks)
        steps = list(pairwise(widths))
        self.enter = nn.Conv2d(FINEST, widths[0], 1)
        self.there = nn.ModuleList(Stage(w, b, tasks) for w, b in zip(widths, blocks, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(4 * fine, coarse, 1) for fine, coarse in steps)
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in steps)
        self.back = nn.ModuleList(Stage(w, b, tasks) for w, b in zip(widths[:-1], blocks[:-1], strict=True))
        self.see = nn.Conv2d(config.beside, config.finer**2 * widths[1], 1) if config.beside else None
        self.leave = nn.Conv2d(widths[0], 2 * sum(BANDS), 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def features(self, picture: Tensor) -> Tensor:
        """Picture (B, 3, H, W) -> the first features (B, C, H/4, W/4)."""
        return self.enter(F.pixel_unshuffle(picture, CELL).to(self.enter.weight.dtype))

    def seen(self, beside: Tensor) -> Tensor:
        """What the network sees beside the picture (B, `config.beside`, ., .) -> features (B, C', H/8, W/8)."""
        assert self.see is not None
        return F.pixel_shuffle(self.see(beside.to(self.see.weight.dtype)), self.config.finer)

    def change(self, x: Tensor) -> Tensor:
        """The last features (B, C, h, w) -> masks and residuals of all bands (B, 126, h, w)."""
        return self.leave(x)

    def forward(
        self, picture: Tensor, task: Tensor, strength: float | Tensor = 1.0, beside: Tensor | None = None
    ) -> Tensor:
        """Translate.

        Args:
            picture: (B, 3, H, W) in -1..1, H and W multiples of `config.unit`.
            task: (B,) numbers into `config.tasks`, or (B, T) weights of all of them.
            strength: 0..1, factor of the change, for all or for each (B, 1, 1, 1).
            beside: (B, `config.beside`, H/8, W/8), or 1/`config.finer` of that in height and width, where the network
                sees more than the picture.
        """
        x = self.there[0](self.features(picture), task)  # (B, C, H/4, W/4)
        passed = []
        for down, stage in zip(self.down, self.there[1:], strict=True):
            passed.append(x)
            x = down(F.pixel_unshuffle(x, 2))  # (B, C', h/2, w/2)
            if self.see is not None and len(passed) == 1:
                x = x + self.seen(beside)
            x = stage(x, task)
        for up, stage in reversed(list(zip(self.up, self.back, strict=True))):
            x = stage(passed.pop() + F.pixel_shuffle(up(x), 2), task)  # (B, C, 2h, 2w)
        change = self.change(x)  # (B, 126, H/4, W/4)
        masks, residuals = (bands_from(part, LEVELS) for part in change.chunk(2, dim=1))
        changes = map(torch.addcmul, residuals, decompose(picture, LEVELS), masks)
        return picture + strength * collapse(list(changes))  # a pyramid is linear
