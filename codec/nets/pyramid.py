"""The Laplacian pyramid: the output of every network here.

A pyramid is a list `[low, band_k, ..., band_1]`, coarse to fine: `low` is the picture at 1/2^k size and each
band is the difference of a level and `expand` of the level below. The kernel is the 5-tap binomial of Burt and Adelson,
"The Laplacian Pyramid as a Compact Image Code", IEEE Trans. Communications 1983 (their a = 0.375), as in LPTN.
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
    sums = even[..., :kept, :] + even[..., 2 : kept + 2, :]
    for row in (odd[..., :kept, :], odd[..., 1 : kept + 1, :]):
        sums.add_(row, alpha=4)
    return sums.add_(even[..., 1 : kept + 1, :], alpha=6).mul_(1 / 16)


def _between(before: Tensor, here: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The two rows or columns that doubling makes of one: (1, 6, 1)/8 in its place, (1, 1)/2 behind it."""
    return (before + after).mul_(1 / 8).add_(here, alpha=6 / 8), (here + after).mul_(1 / 2)


def _expand_rows(x: Tensor, height: int) -> Tensor:
    """Double the rows, keep `height` of them."""
    x = F.pad(x, (0, 0, 1, 1), mode="replicate")
    both = _between(x[..., :-2, :], x[..., 1:-1, :], x[..., 2:, :])
    return torch.stack(both, dim=-2).flatten(-3, -2)[..., :height, :]


def _expand_columns(x: Tensor, width: int) -> Tensor:
    """Double the columns, keep `width` of them."""
    x = F.pad(x, (1, 1, 0, 0), mode="replicate")
    both = _between(x[..., :-2], x[..., 1:-1], x[..., 2:])
    return torch.stack(both, dim=-1).flatten(-2)[..., :width]


def reduce(x: Tensor) -> Tensor:
    """Blur and halve: (B, C, H, W) -> (B, C, ceil(H/2), ceil(W/2)), borders replicated, any value range."""
    return _reduce_rows(_reduce_rows(x).transpose(-1, -2)).transpose(-1, -2)


def expand(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Double and blur: (B, C, h, w) -> (B, C, H, W) for `size` = (H, W) with h = ceil(H/2) and w = ceil(W/2)."""
    height, width = size
    return _expand_rows(_expand_columns(x, width), height)  # the wide rows last, whole


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


def shuffle(x: Tensor, factor: int) -> Tensor:
    """`F.pixel_shuffle`, (B, C factor^2, h, w) -> (B, C, factor h, factor w), whose result lies in memory as pictures
    do, plane by plane, whatever the input's order: three times as fast, and what follows gains too."""
    parts = x.unflatten(1, (-1, factor, factor)).permute(0, 1, 4, 2, 5, 3)  # (B, C, h, factor, w, factor)
    return parts.contiguous().flatten(4, 5).flatten(2, 3)


def bands_from(x: Tensor, levels: int) -> list[Tensor]:
    """Channels to bands in float32, coarse to fine: (B, 3 (1 + 4 + ... + 4^levels), h, w) -> (B, 3, h, w) ... (B, 3,
    2^levels h, 2^levels w). The first three channels are the coarsest band."""
    parts = x.split([3 * 4**level for level in range(levels + 1)], dim=1)
    # converted last: one copy that moves and converts takes up to three times as long as both
    return [shuffle(part, 2**level).float() for level, part in enumerate(parts)]
