"""The pyramid of a synthesis collapsed on a GPU: one kernel for each level, from features to pixels."""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Pixels that a program makes: it has no matrix products, and 2 pixels a thread hide its loads.
BLOCK = 256


@triton.jit
def _expanded(before, plane, row_step, column_step, colour, row, column, height, width, inside, BLOCK: tl.constexpr):
    """One colour of the level `before`, (height / 2, width / 2), doubled at some pixels, as `codec.nets.pyramid.expand`
    does: (1, 6, 1)/8 of the pixels around in even rows and columns, (1, 1)/2 of this and the next one in odd ones."""
    total = tl.zeros([BLOCK], tl.float32)
    for down in tl.static_range(-1, 2):
        even_row, odd_row = (0.75, 0.5) if down == 0 else (0.125, 0.5 if down > 0 else 0.0)
        of_row = tl.where(row % 2 == 0, even_row, odd_row)
        up = tl.minimum(tl.maximum(row // 2 + down, 0), height // 2 - 1)
        for right in tl.static_range(-1, 2):
            even_column, odd_column = (0.75, 0.5) if right == 0 else (0.125, 0.5 if right > 0 else 0.0)
            of_column = tl.where(column % 2 == 0, even_column, odd_column)
            left = tl.minimum(tl.maximum(column // 2 + right, 0), width // 2 - 1)
            place = colour * plane + up * row_step + left * column_step
            total += of_row * of_column * tl.load(before + place, mask=inside, other=0).to(tl.float32)
    return total


@triton.jit
def _band(features, colour, row, column, width, inside, FACTOR: tl.constexpr, CHANNELS: tl.constexpr):
    """One colour of a level's band at some pixels, from features (places, CHANNELS) whose place makes FACTOR x FACTOR
    pixels of each colour. The bands of lower levels have the 3 (1 + 4 + ...) = FACTOR^2 - 1 channels before."""
    area: tl.constexpr = FACTOR * FACTOR
    cell = (row // FACTOR) * (width // FACTOR) + column // FACTOR
    channel = area - 1 + colour * area + (row % FACTOR) * FACTOR + column % FACTOR
    return tl.load(features + cell * CHANNELS + channel, mask=inside, other=0).to(tl.float32)


@triton.jit
def _linear(linear, colour, row, column, width, inside):
    """One colour of the linear picture at some pixels, from its blocks (height / 16 x width / 16, 4 x 192) of 16 x 16
    pixels: four quarters of 8 x 8, each with its three colours one after another."""
    block = (row // 16) * (width // 16) + column // 16
    quarter = (row // 8 % 2) * 2 + column // 8 % 2
    within = (row % 8) * 8 + column % 8
    return tl.load(linear + (block * 4 + quarter) * 192 + colour * 64 + within, mask=inside, other=0)


@triton.jit
def _pyramid_level(
    before, plane, row_step, column_step, bands, finer, linear, out, height, width,
    FACTOR: tl.constexpr, BANDS: tl.constexpr, FINER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One level of the pyramid as float32 (3, height, width): the level `before` doubled, and its band of both
    networks. The last level, where FACTOR is 8, has the linear picture added.

    Args:
        before: the level below, whose `plane`, `row_step` and `column_step` are the steps between its colours, rows
            and columns in memory.
        bands, finer: features of 1/8 and of 1/4 of the picture's size, with BANDS and FINER channels; a place of
            `bands` makes FACTOR x FACTOR pixels of this level, one of `finer` a quarter of these.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = at // width, at % width
    inside = row < height
    for colour in tl.static_range(3):
        total = _expanded(before, plane, row_step, column_step, colour, row, column, height, width, inside, BLOCK)
        total += _band(bands, colour, row, column, width, inside, FACTOR, BANDS)
        total += _band(finer, colour, row, column, width, inside, FACTOR // 2, FINER)
        if FACTOR == 8:
            total += _linear(linear, colour, row, column, width, inside)
        tl.store(out + colour * height * width + at, total, mask=inside)


@triton.jit
def _pyramid_pixels(
    before, plane, row_step, column_step, bands, finer, linear, out, height, width, shown_height, shown_width,
    BANDS: tl.constexpr, FINER: tl.constexpr, COLOURS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The last level as `_pyramid_level` makes it, but from -1..1 to uint8 (shown_height, shown_width, COLOURS), the
    upper left part of it: 3 colours, or 1, the mean of the three."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = at // width, at % width
    inside = row < height
    shown = inside & (row < shown_height) & (column < shown_width)
    place = row * shown_width + column
    grey = tl.zeros([BLOCK], tl.float32)
    for colour in tl.static_range(3):
        total = _expanded(before, plane, row_step, column_step, colour, row, column, height, width, inside, BLOCK)
        total += _band(bands, colour, row, column, width, inside, 8, BANDS)
        total += _band(finer, colour, row, column, width, inside, 4, FINER)
        total += _linear(linear, colour, row, column, width, inside)
        total = total * 127.5 + 127.5
        if COLOURS == 3:
            level = tl.minimum(tl.maximum(tl.floor(total + 0.5), 0), 255)
            tl.store(out + place * 3 + colour, level.to(tl.uint8), mask=shown)
        else:
            grey += total / 3
    if COLOURS == 1:
        level = tl.minimum(tl.maximum(tl.floor(grey + 0.5), 0), 255)
        tl.store(out + place, level.to(tl.uint8), mask=shown)


def collapse(
    bands: Tensor, finer: Tensor, linear: Tensor, cells: tuple[int, int], colours: int, size: tuple[int, int]
) -> Tensor:
    """The picture of all bands, (h w, 256), those of the quarter's, (4 h w, 64), and the linear picture's blocks
    (h w / 4, 768) for h x w cells of 8 x 8 pixels; `colours` and `size` as in `FusedSynthesis`."""
    height, width = cells
    channels = {"BANDS": bands.shape[1], "FINER": finer.shape[1]}
    before, steps = bands, (1, width * bands.shape[1], bands.shape[1])  # the lowest level: three channels of `bands`
    for factor in (2, 4, 8):
        rows, columns = factor * height, factor * width
        grid = (triton.cdiv(rows * columns, BLOCK),)
        if factor == 8 and colours:
            out = torch.empty(*size, colours, dtype=torch.uint8, device=bands.device)
            _pyramid_pixels[grid](
                before, *steps, bands, finer, linear, out, rows, columns, *size,
                COLOURS=colours, BLOCK=BLOCK, **channels,
            )  # fmt: skip
            return out
        out = torch.empty(1, 3, rows, columns, dtype=torch.float32, device=bands.device)
        _pyramid_level[grid](
            before, *steps, bands, finer, linear, out, rows, columns,
            FACTOR=factor, BLOCK=BLOCK, **channels,
        )  # fmt: skip
        before, steps = out, (rows * columns, columns, 1)
    return before
