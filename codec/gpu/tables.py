"""A model's probability tables on a device, in the form that its kernels take."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lapic.bitstream import PRECISION, Tables
from lapic.codec.model.codec_weights import Model

# Bits of a state's low part by which a table of guesses says where to look for the symbol. With 8, all tables of
# guesses (2.5 kB each) fit in a GPU's cache, and most symbols are the first guess or one of the next. The kernel that
# decodes has this number in its code.
GUESS_BITS = 8


@dataclass(frozen=True)
class DeviceTables:
    """All tables of a model on a device: the 64 of the latents, then those of the hyper-latent's channels, rate level
    by rate level.

    Attributes:
        sums: cumulated counts, from 0 to 2^24 in each table, int32. starts: (T,) int32, where those of 0 are in `sums`.
        guesses: (T, 256) int16, the symbol of the least state that begins with these 8 bits, and `lows` and `highs`,
            int32, the counts before and after it.
        widths: (T,) int32, the largest magnitude that is no escape.
        latents: how many of the tables are the latents'. shape: (L, Z) of the others.
    """

    starts: Tensor
    sums: Tensor
    guesses: Tensor
    lows: Tensor
    highs: Tensor
    widths: Tensor
    latents: int
    shape: tuple[int, int]


def device_tables(tables: Tables, device: torch.device) -> DeviceTables:
    """Bring a model's tables to a device."""
    levels, channels, symbols = tables.hyper.shape
    counts = [*tables.latent, *tables.hyper.reshape(-1, symbols)]
    sums = [np.concatenate([[0], np.cumsum(table, dtype=np.int64)]).astype(np.int32) for table in counts]
    asked = np.arange(2**GUESS_BITS) << (PRECISION - GUESS_BITS)
    guesses = np.stack([np.searchsorted(table, asked, side="right") - 1 for table in sums])
    lows, highs = (np.stack([table[g + up] for table, g in zip(sums, guesses, strict=True)]) for up in (0, 1))
    widths = np.array([(len(table) - 1) // 2 for table in counts], np.int32)
    starts = (np.cumsum([0, *map(len, sums[:-1])]) + widths).astype(np.int32)
    guesses = (guesses - widths[:, None]).astype(np.int16)
    every = starts, np.concatenate(sums), guesses, lows, highs, widths
    return DeviceTables(
        *(torch.from_numpy(array).to(device) for array in every), latents=len(tables.latent), shape=(levels, channels)
    )


_KEPT: dict[tuple[bytes, torch.device], DeviceTables] = {}  # by the id that names them


def tables_of(model: Model) -> DeviceTables:
    """A model's tables on its device, brought there once."""
    key = model.identity, model.device
    if key not in _KEPT:
        _KEPT[key] = device_tables(model.tables, model.device)
    return _KEPT[key]
