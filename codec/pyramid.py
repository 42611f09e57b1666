"""The Laplacian pyramid: the form in which every picture leaves a network here.

A pyramid is a list `[low, band_k, ..., band_1]`, coarse to fine: `low` is the picture at 1/2^k size and each
band is what `expand` of the level below misses. The kernel is the 5-tap binomial of Burt and Adelson, "The
Laplacian Pyramid as a Compact Image Code", IEEE Trans. Communications 1983 (their a = 0.375), as in LPTN.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def _reduce_rows(x: Tensor) -> Tensor:
    """Filter with (1, 4, 6, 4, 1)/16 along the last but one axis and keep every second row."""
    height = x.shape[-2]
    x = F.pad(x, (0, 0, 2, 2 + height % 2), mode="replicate")  # rows -2 .. height + 1, an even count
    even, odd = x[..., 0::2, :], x[..., 1::2, :]
    kept = (height + 1) // 2
    centre, side = even[..., 1 : kept + 1, :], odd[..., :kept, :] + odd[..., 1 : kept + 1, :]
    edge = even[..., :kept, :] + even[..., 2 : kept + 2, :]
    return (6 * centre + 4 * side + edge) / 16


def _expand_rows(x: Tensor, height: int) -> Tensor:
    """Double the rows: even ones get (1, 6, 1)/8, odd ones (1, 1)/2 of the rows around them; keep `height`."""
    batch, channels, rows, width = x.shape
    x = F.pad(x, (0, 0, 1, 1), mode="replicate")
    before, here, after = x[..., :-2, :], x[..., 1:-1, :], x[..., 2:, :]
    even, odd = (before + 6 * here + after) / 8, (here + after) / 2
    return torch.stack((even, odd), dim=3).reshape(batch, channels, 2 * rows, width)[..., :height, :]


def reduce(x: Tensor) -> Tensor:
    """Blur and halve: (B, C, H, W) -> (B, C, ceil(H/2), ceil(W/2)), borders replicated, any value range."""
    return _reduce_rows(_reduce_rows(x).transpose(-1, -2)).transpose(-1, -2)


def expand(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Double and blur: (B, C, h, w) -> (B, C, H, W) for `size` = (H, W) with h = ceil(H/2) and w = ceil(W/2)."""
    height, width = size
    return _expand_rows(_expand_rows(x, height).transpose(-1, -2), width).transpose(-1, -2)


def decompose(picture: Tensor, levels: int = 3) -> list[Tensor]:
    """Split a picture (B, C, H, W) into its pyramid of one low band and `levels` detail bands, coarse to fine."""
    bands = []
    for _ in range(levels):
        smaller = reduce(picture)
        bands.append(picture - expand(smaller, picture.shape[-2:]))
        picture = smaller
    return [picture, *reversed(bands)]


def add(fresh: Tensor, other: Tensor) -> Tensor:
    """The sum, in place of `fresh` where no gradient is wanted: new memory costs more than the addition."""
    return fresh + other if torch.is_grad_enabled() else fresh.add_(other)


def partial_collapses(pyramid: list[Tensor]) -> list[Tensor]:
    """The pictures that collapsing passes through, coarse to fine; the last one is the whole picture."""
    pictures = [pyramid[0]]
    for band in pyramid[1:]:
        pictures.append(add(expand(pictures[-1], band.shape[-2:]), band))
    return pictures


def collapse(pyramid: list[Tensor]) -> Tensor:
    """Put a pyramid together again; the inverse of `decompose`. A prefix of the list gives the picture at
    1/2, 1/4 ... of the size, because every level is a smaller version of the whole picture."""
    return partial_collapses(pyramid)[-1]


def bands_from(x: Tensor, levels: int) -> list[Tensor]:
    """Channels to bands, coarse to fine: (B, 3 (1 + 4 + ... + 4^levels), h, w) -> (B, 3, h, w) ... (B, 3, 2^levels h,
    2^levels w). The first three channels are the coarsest band."""
    parts = x.split([3 * 4**level for level in range(levels + 1)], dim=1)
    return [F.pixel_shuffle(part, 2**level) if level else part for level, part in enumerate(parts)]
