"""The synthesis on a GPU, in half precision, with what one kernel can do in one: from latents to pixels.

Features that go to memory and back after every operation take far longer than the products between. Here a residual
block is two kernels, the rest of the synthesis matrix products, and the pyramid's collapse one kernel for each level.
Features are matrices (places, channels). What scales and shifts features by quality is taken into the weights before;
upsampled features are made by weights whose rows are sorted so that whole cells move. Sums are in float32.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.gpu.pyramid import collapse
from lapic.codec.nets import levels
from lapic.codec.nets.config import Config
from lapic.codec.nets.layers import Modulation
from lapic.codec.nets.network import Block, Synthesis

# The most channels of a block that runs as two kernels. One weight matrix of 128 x 128 float16 is 32 KiB, which a GPU's
# shared memory holds beside the features that it is multiplied with; wider blocks run layer by layer.
WIDEST = 128
FUSED_WIDTHS = {16, 32, 64, WIDEST}  # powers of two, of 16 or more: Triton multiplies no other matrices
# Places of which a program of `_mix` or `_filter` makes all channels. With more places each loaded weight is used more
# often, but 64 places of 128 channels are already 8192 sums in registers, 64 for each thread of 4 warps.
MIX_BLOCK = FILTER_BLOCK = 64


@triton.jit
def _mix(x, weight, bias, out, places, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """silu(x weight + bias) of features (places, channels); `weight` is (in, out)."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, CHANNELS)
    cells = at[:, None] * CHANNELS + channel
    inside = (at < places)[:, None]
    square = channel[:, None] * CHANNELS + channel
    sums = tl.dot(tl.load(x + cells, mask=inside, other=0), tl.load(weight + square)) + tl.load(bias + channel)
    tl.store(out + cells, (sums * tl.sigmoid(sums)).to(tl.float16), mask=inside)


@triton.jit
def _filter(
    mixed, x, taps, taps_bias, join, join_bias, widen, widen_bias, narrow, narrow_bias, out, height, width,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What follows in a block: 3x3 filters, join, and the expansion by two, for features (height x width, channels)."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = at // width, at % width
    channel = tl.arange(0, CHANNELS)
    cells = at[:, None] * CHANNELS + channel
    inside = (row < height)[:, None]
    sums = tl.zeros([BLOCK, CHANNELS], tl.float32) + tl.load(taps_bias + channel)
    for tap in tl.static_range(9):
        down, right = tap // 3 - 1, tap % 3 - 1
        seen = (row + down >= 0) & (row + down < height) & (column + right >= 0) & (column + right < width)
        shifted = tl.load(mixed + cells + (down * width + right) * CHANNELS, mask=seen[:, None], other=0)
        sums += shifted.to(tl.float32) * tl.load(taps + tap * CHANNELS + channel).to(tl.float32)
    square = channel[:, None] * CHANNELS + channel
    joined = tl.dot(sums.to(tl.float16), tl.load(join + square)) + tl.load(join_bias + channel)
    joined += tl.load(x + cells, mask=inside, other=0).to(tl.float32)
    whole = joined.to(tl.float16)
    sums = joined + tl.load(narrow_bias + channel)
    for half in tl.static_range(2):
        part = channel + half * CHANNELS
        wide = tl.dot(whole, tl.load(widen + channel[:, None] * 2 * CHANNELS + part)) + tl.load(widen_bias + part)
        wide = (wide * tl.sigmoid(wide)).to(tl.float16)
        sums += tl.dot(wide, tl.load(narrow + part[:, None] * CHANNELS + channel))
    tl.store(out + cells, sums.to(tl.float16), mask=inside)


def _matrix(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """A pointwise layer's weight (out, in) and bias."""
    assert layer.bias is not None
    return layer.weight.flatten(1), layer.bias


def _by_cells(rows: Tensor) -> Tensor:
    """Rows (4 C, ...) for `F.pixel_shuffle` by 2 sorted as (4, C, ...), so that each of four cells is together."""
    return rows.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)


def _even(rows: Tensor) -> Tensor:
    """With a row of zeros more if their number is odd, which matrix products do not like."""
    return torch.cat([rows, torch.zeros_like(rows[:1])]) if len(rows) % 2 else rows


def _spread(cells: Tensor, height: int, width: int) -> Tensor:
    """Features (h w, 4 C), sorted by cells, at twice the size, (2h 2w, C)."""
    parts = cells.reshape(height, width, 2, 2, -1).transpose(1, 2)  # (h, 2, w, 2, C)
    return parts.reshape(4 * height * width, -1)


def _upsampling(layer: nn.Conv2d, see: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias, sorted by cells, of a layer before `F.pixel_shuffle`; the bias is also that of the layer `see`,
    whose output is added behind it."""
    weight, bias = (_by_cells(rows) for rows in _matrix(layer))
    assert see.bias is not None
    return weight, bias + see.bias.repeat(4)


def _modulated(modulation: Modulation, quality: Tensor, bias: Tensor, *weights: Tensor) -> list[Tensor]:
    """The bias, and the weights of all layers whose outputs are added, that give modulated features; rows are the
    features, or those of four cells."""
    scale, shift = levels.interpolate_levels(modulation.table, quality)[0].float().chunk(2)
    times = len(bias) // len(scale)
    rows = (1 + scale).repeat(times)
    scaled = [(weight * rows[: len(weight), None]).to(weight.dtype) for weight in weights]
    return [(bias * rows + shift.repeat(times)).to(bias.dtype), *scaled]


@dataclass(frozen=True)
class FusedBlock:
    """A residual block's weights: matrices (in, out), filters (9, channels), each before its bias."""

    channels: int
    weights: list[Tensor]
    filters: nn.Conv2d

    @classmethod
    def of(cls, block: Block) -> "FusedBlock":
        """That of a block of the network."""
        layers = (block.mix, block.filter, block.join, block.widen, block.narrow)
        weights = [one for layer in layers for one in (layer.weight.flatten(1).T.contiguous(), layer.bias)]
        return cls(block.mix.in_channels, weights, block.filter)

    def __call__(self, x: Tensor, height: int, width: int) -> Tensor:
        """(h w, C) float16 -> the same."""
        channels, places = self.channels, height * width
        mix, mix_bias, *rest = self.weights
        if channels > WIDEST:
            return self._by_layers(x, height, width)
        mixed, out = torch.empty_like(x), torch.empty_like(x)
        _mix[(triton.cdiv(places, MIX_BLOCK),)](
            x, mix, mix_bias, mixed, places, CHANNELS=channels, BLOCK=MIX_BLOCK, num_warps=8
        )
        _filter[(triton.cdiv(places, FILTER_BLOCK),)](
            mixed, x, *rest, out, height, width, CHANNELS=channels, BLOCK=FILTER_BLOCK, num_warps=4
        )
        return out

    def _by_layers(self, x: Tensor, height: int, width: int) -> Tensor:
        mix, mix_bias, _, _, join, join_bias, widen, widen_bias, narrow, narrow_bias = self.weights
        mixed = F.silu(torch.addmm(mix_bias, x, mix), inplace=True)
        picture = mixed.reshape(1, height, width, -1).permute(0, 3, 1, 2)  # channels last
        x = torch.addmm(join_bias, self.filters(picture).permute(0, 2, 3, 1).flatten(0, 2), join).add_(x)
        return torch.addmm(narrow_bias, F.silu(torch.addmm(widen_bias, x, widen), inplace=True), narrow).add_(x)


def fusible(config: Config) -> bool:
    """Whether `FusedSynthesis` is for a model of this shape."""
    return {config.quarter, config.fine} <= FUSED_WIDTHS and (config.coarse > WIDEST or config.coarse in FUSED_WIDTHS)


class FusedSynthesis:
    """A synthesis whose weights are ready for the kernels. It must be in float16, see `fusible`."""

    def __init__(self, synthesis: Synthesis) -> None:
        assert synthesis.quarter is not None
        self.of, quarter = synthesis, synthesis.quarter
        self.coarse, self.fine, self.quarter = (
            [FusedBlock.of(block) for block in blocks if isinstance(block, Block)]
            for blocks in (synthesis.coarse, synthesis.fine, quarter.blocks)
        )
        self.linear = _by_cells(synthesis.linear.weight).contiguous()  # (4 192, M, 1, 1)
        self.enter, self.enter_bias = _matrix(synthesis.enter)
        self.up, self.up_bias = _upsampling(synthesis.up, synthesis.see)
        self.see = synthesis.see.weight.flatten(1)
        self.quarter_up, self.quarter_up_bias = _upsampling(quarter.up, quarter.see)
        see = quarter.see.weight.flatten(1)  # (Q, 48), of the 16 pixels of each colour in one of four cells of 64
        wide = see.new_zeros(2, 2, len(see), 3, 2, 4, 2, 4)
        for row in range(2):
            for column in range(2):
                wide[row, column, :, :, row, :, column] = see.reshape(-1, 3, 4, 4)
        self.quarter_see = wide.reshape(4 * len(see), 192)
        self.leave, self.quarter_leave = (
            tuple(_even(rows) for rows in _matrix(layer)) for layer in (synthesis.leave, quarter.leave)
        )

    def __call__(self, latent: Tensor, quality: Tensor, colours: int, size: tuple[int, int]) -> Tensor:
        """The picture of latents.

        Args:
            latent: y^, (1, M, h, w) float32, channels last. quality: (1,), fixed-point.
            colours: 3 or 1 for uint8, (H, W, colours) of `size`; 0 for float32 in about -1..1, (1, 3, 16h, 16w).
        """
        of, quarter = self.of, self.of.quarter
        assert quarter is not None
        height, width = latent.shape[-2:]
        y = latent.permute(0, 2, 3, 1).flatten(0, 2)  # (h w, M)
        linear = F.conv2d(latent, self.linear).permute(0, 2, 3, 1).reshape(len(y), -1)  # (h w, 4 192)
        base = _spread(linear.half(), height, width)  # (4 h w, 192)
        bias, weight = _modulated(of.enter_level, quality, self.enter_bias, self.enter)
        x = torch.addmm(bias, y.half(), weight.T)  # (h w, coarse)
        for block in self.coarse:
            x = block(x, height, width)
        bias, weight, see = _modulated(of.up_level, quality, self.up_bias, self.up, self.see)
        x = torch.addmm(_spread(torch.addmm(bias, x, weight.T), height, width), base, see.T)  # (4 h w, fine)
        height, width = 2 * height, 2 * width
        for block in self.fine:
            x = block(x, height, width)
        bands = torch.addmm(self.leave[1], x, self.leave[0].T)  # (4 h w, 256)
        bias, weight, see = _modulated(quarter.level, quality, self.quarter_up_bias, self.quarter_up, self.quarter_see)
        x = _spread(torch.addmm(torch.addmm(bias, x, weight.T), base, see.T), height, width)  # (16 h w, quarter)
        for block in self.quarter:
            x = block(x, 2 * height, 2 * width)
        finer = torch.addmm(self.quarter_leave[1], x, self.quarter_leave[0].T)  # (16 h w, 64)
        return collapse(bands, finer, linear, (height, width), colours, size)
