"""The second generation of analysis and synthesis: a third of the first's arithmetic, in few large matrix products.

The synthesis' body works at 1/16 of the size. It computes what a thin renderer of 1x1 layers at 1/4 starts from, and
the scales, shifts and gates of the renderer's layers: masks that are found on the low band and applied to the high
ones, as in LPTN (Liang, Zeng, Zhang, CVPR 2021). The renderer sees the linear path's picture too, and what it makes is
added to that. Its layers need no neighbours, so its cells of 4x4 pixels stay grouped by the 16x16 pixels of their
latent from the latent to the picture, and no features are moved.

Features lie here as (B, h, w, C). A picture's pixels are grouped by cells: a channel's number is that of its row in the
cell, then of its column, then of its colour.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.nets.config import Config
from lapic.codec.nets.layers import Modulation, network_type, precise_product, silu
from lapic.codec.nets.pyramid import add, reduce
from lapic.codec.nets.strips import blocks_in_strips, in_strips, with_neighbours
from lapic.codec.threads import in_free_threads

CELL = 4  # edge in pixels of the renderer's cells; a latent has as many of them in a row and in a column
CELLS = CELL**2  # of a latent, and the pixels of each
COLOURS = 3 * CELLS  # values of a cell
PRECISE = 16  # latent channels that the synthesis' linear path takes in float32; they have most of a photo's energy
STRIP = 384  # latents whose pictures a thread makes at a time, so that the renderer's features stay in the cache
FINE_EXPANSION, WIDE_EXPANSION, BODY_EXPANSION, PAIR_EXPANSION = 2, 3, 2, 2


def gather(x: Tensor, edge: int) -> Tensor:
    """Cells of `edge` x `edge` places as channels: (B, edge h, edge w, C) -> (B, h, w, edge edge C)."""
    batch, height, width, channels = x.shape
    rows = x.reshape(batch, height // edge, edge, width // edge, edge * channels)
    return rows.transpose(2, 3).reshape(batch, height // edge, width // edge, edge * edge * channels)


def spread(x: Tensor, edge: int) -> Tensor:
    """The inverse of `gather`: (B, h, w, edge edge C) -> (B, edge h, edge w, C)."""
    batch, height, width, channels = x.shape
    rows = x.reshape(batch, height, width, edge, channels // edge).transpose(2, 3)
    return rows.reshape(batch, height * edge, width * edge, channels // edge**2)


def to_latents(picture: Tensor) -> Tensor:
    """A picture (B, 3, 16h, 16w), channels last, as the pixels of each latent, grouped by cells: (B, h, w, 768)."""
    return gather(gather(picture.permute(0, 2, 3, 1), CELL), CELL)


def to_picture(pixels: Tensor) -> Tensor:
    """The inverse of `to_latents`, channels last."""
    batch, height, width, _ = pixels.shape
    return in_rows(pixels).reshape(batch, CELLS * height, CELLS * width, 3).permute(0, 3, 1, 2)


def in_rows(pixels: Tensor) -> Tensor:
    """A view of the pixels of each latent, (B, h, w, 768), in the order of a picture: (B, h, 4, 4, w, 4, 12), with the
    row in the latent, the row in the cell, the column in the latent, and the column in the cell with the colour."""
    return pixels.unflatten(-1, (CELL, CELL, CELL, 3 * CELL)).permute(0, 1, 3, 5, 2, 4, 6)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution of features (..., C), as one matrix product in the networks' type."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., D)."""
        return F.linear(x.to(network_type(self, x)), self.weight.flatten(1), self.bias)


class LinearPath(nn.Conv2d):
    """A linear path: a 1x1 convolution without bias of features (..., C).

    Args:
        precise: how many of the first channels are always taken in float32.
    """

    def __init__(self, channels: int, out: int, precise: int) -> None:
        super().__init__(channels, out, 1, bias=False)
        self.precise = precise

    def forward(self, x: Tensor, quick: torch.dtype) -> Tensor:
        """(..., C) float32 -> (..., D) float32; gradients, and channels that are not precise, in the type `quick`."""
        weight = self.weight.flatten(1)
        if quick == torch.float32 or self.precise == self.in_channels:
            return precise_product(x, weight, quick)
        sums = precise_product(x[..., : self.precise], weight[:, : self.precise], quick)
        return add(sums, F.linear(x[..., self.precise :].to(quick), weight[:, self.precise :].to(quick)))


class Block(nn.Module):
    """Residual block: depthwise 3x3, then a pointwise expansion."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.widen = Pointwise(channels, expansion * channels)
        self.narrow = Pointwise(expansion * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        return self.window(x, slice(0, x.shape[1]))

    def window(self, x: Tensor, rows: slice) -> Tensor:
        """Some rows of what `forward` returns."""
        seen, place = with_neighbours(rows, x.shape[1])
        filtered = self.filter(x[:, seen].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)[:, place]  # (B, rows, w, C)
        return add(self.narrow(silu(self.widen(filtered))), x[:, rows])


class Layer(ABC):
    """A layer of features (B, h, w, C) that computes some of their rows by itself: called, it computes all."""

    @abstractmethod
    def window(self, x: Tensor, rows: slice) -> Tensor:
        """Some rows of its output."""

    def __call__(self, x: Tensor) -> Tensor:
        """Its output."""
        return self.window(x, slice(0, x.shape[1]))


@dataclass(frozen=True)
class Conditioned(Layer):
    """A block whose input is scaled and shifted by fixed-point qualities (B,) or (B, h, w)."""

    level: Modulation
    block: Block
    quality: Tensor

    def window(self, x: Tensor, rows: slice) -> Tensor:
        """Some rows of (B, h, w, C) for (B, h, w, C)."""
        seen, place = with_neighbours(rows, x.shape[1])
        quality = self.quality if self.quality.ndim == 1 else self.quality[:, seen]
        return self.block.window(self.level(x[:, seen].permute(0, 3, 1, 2), quality).permute(0, 2, 3, 1), place)


class Analysis(nn.Module):
    """From a picture to its latent y. The same y serves every quality."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        wide_blocks = config.coarse_blocks + config.more_coarse
        self.linear = LinearPath(CELLS * COLOURS, config.latent, precise=CELLS * COLOURS)
        self.enter = Pointwise(4 * COLOURS, config.fine)
        self.fine = nn.Sequential(*(Block(config.fine, FINE_EXPANSION) for _ in range(config.fine_blocks)))
        self.down = Pointwise(4 * config.fine, config.wide)
        self.coarse = nn.Sequential(*(Block(config.wide, WIDE_EXPANSION) for _ in range(wide_blocks)))
        self.leave = Pointwise(config.wide, config.latent)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, picture: Tensor) -> Tensor:
        """Picture (B, 3, H, W) in -1..1, channels last -> y (B, M, H/16, W/16), float32."""
        rows = picture.permute(0, 2, 3, 1).unflatten(1, (-1, CELLS))  # (B, h, 16, W, 3)
        x = in_strips(self._enter, rows, axis=1).flatten(1, 2)  # (B, H/8, W/8, fine)
        x = blocks_in_strips(self.fine, x, axis=1).unflatten(1, (-1, 2))  # (B, h, 2, W/8, fine)
        x = blocks_in_strips(self.coarse, in_strips(self._down, x, axis=1), axis=1)  # (B, h, w, wide)
        return in_strips(WithLinear(self.leave, self.linear, rows), x, axis=1).permute(0, 3, 1, 2)

    def _enter(self, rows: Tensor) -> Tensor:
        """Pixels (B, h, 16, W, 3) -> features (B, h, 2, W/8, fine)."""
        pixels = gather(rows.flatten(1, 2), CELL).to(network_type(self.enter, rows))
        return self.enter(gather(pixels, 2)).unflatten(1, (-1, 2))

    def _down(self, x: Tensor) -> Tensor:
        """Features (B, h, 2, W/8, fine) -> (B, h, w, wide)."""
        return self.down(gather(x.flatten(1, 2), 2))


@dataclass(frozen=True)
class WithLinear(Layer):
    """The last layer of an analysis, `leave`, added to the linear path of the pixels (B, h, 16, W, 3)."""

    leave: Pointwise
    linear: LinearPath
    rows: Tensor

    def window(self, x: Tensor, rows: slice) -> Tensor:
        """Some rows of y (B, h, w, M), float32, for features (B, h, w, wide)."""
        cells = gather(gather(self.rows[:, rows].flatten(1, 2), CELL), CELL)
        return add(self.linear(cells, network_type(self.leave, x)), self.leave(x[:, rows]).float())


class Pair(nn.Module):
    """A residual pair of 1x1 layers of the renderer, whose input the body scales and shifts and whose output it
    gates."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widen = Pointwise(channels, PAIR_EXPANSION * channels)
        self.narrow = Pointwise(PAIR_EXPANSION * channels, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Features (B, h, w, 16, C) of the cells of each latent, and for each latent scales, shifts and gates (B, h, w,
        1, 3C) -> (B, h, w, 16, C). Scales and gates are bounded: their products with unusual features would explode."""
        scale, shift, gate = condition.chunk(3, dim=-1)
        inner = silu(self.widen(torch.addcmul(shift, x, 1 + scale.tanh())))
        return torch.addcmul(x, self.narrow(inner), 1 + gate.tanh())


class Synthesis(nn.Module):
    """From a latent y^ to a picture, as the sum of a linear one and the renderer's."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.linear = LinearPath(config.latent, CELLS * COLOURS, precise=PRECISE)
        self.enter = Pointwise(config.latent, config.coarse)
        self.body_levels = nn.ModuleList(Modulation(config.coarse, config.levels) for _ in range(config.coarse_blocks))
        self.body = nn.ModuleList(Block(config.coarse, BODY_EXPANSION) for _ in range(config.coarse_blocks))
        self.up = Pointwise(config.coarse, CELLS * config.renderer)
        self.condition = Pointwise(config.coarse, config.pairs * 3 * config.renderer)
        self.see = Pointwise(COLOURS, config.renderer)
        self.pairs = nn.ModuleList(Pair(config.renderer) for _ in range(config.pairs))
        self.leave = Pointwise(config.renderer, COLOURS)
        for last in (self.condition, self.leave):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, latent: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """The linear picture and what is added to it, each as the pixels of each latent, see `to_picture`.

        Args:
            latent: y^, (B, M, h, w) float32. quality: (B,) fixed-point qualities 256..25600.

        Returns:
            (B, h, w, 768) float32 in about -1..1; (B, h, w, 768) in the networks' type.
        """
        latent = latent.permute(0, 2, 3, 1)
        return self.render(latent, self.features(latent, quality))

    def features(self, latent: Tensor, quality: Tensor) -> Tensor:
        """The body's features (B, h, w, coarse) of latents (B, h, w, M)."""
        x = in_strips(self.enter, latent, axis=1, free=True)
        for level, block in zip(self.body_levels, self.body, strict=True):
            x = in_strips(Conditioned(level, block, quality), x, axis=1, free=True)
        return x

    def render(self, latent: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` returns, from latents (B, h, w, M) and the body's features (B, h, w, coarse). Every place is
        computed by itself."""
        dtype = network_type(self.see, latent)
        linear = self.linear(latent, dtype)  # (B, h, w, 768)
        cells = self.see(linear.to(dtype).unflatten(-1, (CELLS, COLOURS)))  # (B, h, w, 16, renderer)
        conditions = self.condition(x).unflatten(-1, (1, len(self.pairs), -1)).unbind(-2)
        x = add(cells, self.up(x).unflatten(-1, (CELLS, -1)))
        for pair, condition in zip(self.pairs, conditions, strict=True):
            x = pair(x, condition)
        return linear, self.leave(x).flatten(-2)

    def patterns(self) -> Tensor:
        """The linear picture of a one in each latent channel, (M, 3, 16, 16)."""
        return to_picture(self.linear.weight.transpose(0, 1).permute(0, 2, 3, 1))

    def parts(self, latent: Tensor, quality: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The linear picture (B, 3, 16h, 16w) and a list with what is added to it."""
        linear, added = self(latent, quality)
        return to_picture(linear), [to_picture(added)]

    def picture(self, latent: Tensor, quality: Tensor, scale: int = 1, follow: bool = True) -> Tensor:
        """The picture (B, 3, 16h / scale, 16w / scale) of latents y^ (B, M, h, w) at fixed-point qualities (B,); for
        `scale` 2, 4 and 8 the whole one, reduced as in a Laplacian pyramid."""
        picture, _ = self.picture_and_features(latent, quality)
        for _ in range(scale.bit_length() - 1):
            picture = reduce(picture)
        return picture

    def picture_and_features(self, latent: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """`picture` at full size, and the body's features, (B, coarse, h, w)."""
        latent = latent.permute(0, 2, 3, 1)
        x = self.features(latent, quality)
        return self._picture(latent, x), x.permute(0, 3, 1, 2)

    def _picture(self, latent: Tensor, x: Tensor) -> Tensor:
        """The picture (B, 3, 16h, 16w) of latents (B, h, w, M) and the body's features (B, h, w, coarse), rendered
        strip by strip where no gradient is wanted."""
        if torch.is_grad_enabled() or latent.device.type != "cpu":
            return to_picture(add(*self.render(latent, x)))
        batch, height, width, _ = latent.shape
        out = latent.new_empty(batch, height, CELL, CELL, width, CELL, 3 * CELL)  # see `in_rows`
        rows = max(1, STRIP * torch.get_num_threads() // (batch * width))

        def render(top: int) -> None:
            strip = slice(top, top + rows)
            out[:, strip] = in_rows(add(*self.render(latent[:, strip], x[:, strip])))

        in_free_threads(render, range(0, height, rows))
        return out.reshape(batch, CELLS * height, CELLS * width, 3).permute(0, 3, 1, 2)
