"""The qualities of a picture: one for all of it, or one for each place where its file has a quality map."""

import torch
from torch import Tensor

from lapic.bitstream import Header
from lapic.bitstream.container import QUALITY_MAP
from lapic.bitstream.quality_map import read_map
from lapic.codec.nets import levels


def qualities_of(header: Header, device: torch.device) -> Tensor:
    """Fixed-point qualities as networks take them: (1,), or with a quality map those of all places, (1, H/16, W/16)."""
    if QUALITY_MAP not in header.chunks:
        return levels.fixed_point(header.quality, device)
    return torch.from_numpy(read_map(header)).to(device, torch.int64)[None]


def part_of(qualities: Tensor, inside: tuple[slice, slice]) -> Tensor:
    """Those of some rows and columns of places, (B, h, w); one quality for all, (B,), stays as it is."""
    return qualities if qualities.ndim == 1 else qualities[:, *inside]
