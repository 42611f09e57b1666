"""Entropy encoding on a GPU: all lanes of a tile at once, to the very bytes that `bitstream.encode_tile` makes.

As in `codec.lanes` the host is not asked before all is done. What a coder pushes last is popped first, so passes and
symbols are taken from the end.
"""

from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from bitstream import LANE_SYMBOLS, write_payload
from codec.context import Coded, low_channels, passes
from codec.lanes import hyper_order, latent_order, share_of_lane, tables_of
from codec.model import Model


@triton.jit(do_not_specialize=["total", "capacity"])
def _encode_pass(
    lanes, words, capacity, states, places, keys, order, skipped, total, symbols, starts, sums, centres, failed
):  # fmt: skip
    """Push the symbols of one pass that one lane has, the last one first. `keys`, `order` and `skipped` are as for
    decoding; `failed` is set if a symbol is an escape or the words are more than a lane's `capacity`."""
    lane = tl.program_id(0)
    begin, at = share_of_lane(lanes, skipped, total)
    state = tl.load(states + lane).to(tl.uint64, bitcast=True)
    place = tl.load(places + lane)
    while at > begin:
        at -= 1
        key = tl.load(keys + at).to(tl.int32)
        centre = tl.load(centres + key)
        symbol = tl.load(symbols + tl.load(order + at)).to(tl.int32) + centre
        if (symbol < 0) | (symbol > 2 * centre) | (place >= capacity):
            tl.store(failed, 1)
            symbol = centre
            place = 0
        row = tl.load(starts + key) + symbol
        below = tl.load(sums + row)
        size = (tl.load(sums + row + 1) - below).to(tl.uint64)
        if (state >> 40) >= size:
            low = (state & 0xFFFFFFFF).to(tl.uint32)
            tl.store(words + lane * capacity + place, low.to(tl.int32, bitcast=True))
            place += 1
            state = state >> 32
        state = ((state // size) << 24) | (below.to(tl.uint64) + state % size)
    tl.store(states + lane, state.to(tl.int64, bitcast=True))
    tl.store(places + lane, place)


@dataclass(frozen=True)
class Pushed:
    """What a device knows of a tile's payload, all tensors on it.

    Attributes:
        words: (lanes at most, words at most of each), int32. places: how many of them each lane has, int32.
        states: of the coders in the end, int64.
        count: of lanes, first: scale index whose symbols are coded, failed: whether a processor has to do it; (1,).
    """

    words: Tensor
    places: Tensor
    states: Tensor
    count: Tensor
    first: Tensor
    failed: Tensor


def push(model: Model, z: Tensor, coded: Coded, level: Tensor, lanes: int, capacity: int) -> Pushed:
    """Encode a tile without a word to the host.

    Args:
        z: (1, Z, h4, w4). level: the rate level, (1,) integers.
        lanes, capacity: how many lanes there may be, and how many words each may have.
    """
    tables, device = tables_of(model), z.device
    index, symbol = coded.index[0], coded.symbol[0].to(torch.int16)  # (M, h, w)
    first = 1 - ((index == 0) & (symbol != 0)).any().int().reshape(1)
    count = ((symbol != 0).sum() // LANE_SYMBOLS).clamp(1, lanes).int().reshape(1)
    words = torch.empty(lanes, capacity, dtype=torch.int32, device=device)
    states = torch.zeros(lanes, dtype=torch.int64, device=device)
    places, failed = (torch.zeros(size, dtype=torch.int32, device=device) for size in (lanes, 1))

    def code(symbols: Tensor, keys: Tensor, order: Tensor, skipped: Tensor) -> None:
        _encode_pass[(lanes,)](
            count, words, capacity, states, places, keys, order, skipped, len(keys), symbols,
            tables.starts, tables.sums, tables.centres, failed, num_warps=1,
        )  # fmt: skip

    for part in reversed(passes(low_channels(model.integers), index.shape, device)):
        code(symbol[part.channels].flatten(), *latent_order(part, index[part.channels], first))
    code(z[0].to(torch.int16).flatten(), *hyper_order(tables, level, z.shape[2] * z.shape[3]))
    return Pushed(words, places, states, count, first, failed)


def payload_of(pushed: Pushed) -> bytes | None:
    """The bytes, once they are there; None if a processor has to make them."""
    if pushed.failed:
        return None
    count, lanes = int(pushed.count), []
    places, states = pushed.places[:count].cpu().numpy(), pushed.states[:count].cpu().numpy().view(np.uint64)
    device, capacity = pushed.words.device, pushed.words.shape[1]
    ends = np.cumsum(places)
    used = np.arange(ends[-1]) + np.repeat(np.arange(count) * capacity - (ends - places), places)
    words = pushed.words.flatten()[torch.from_numpy(used).to(device)].cpu().numpy().astype("<i4").tobytes()
    for end, place, state in zip(ends, places, states, strict=True):
        rest = int(state).to_bytes(8, "little")
        rest = rest if state >> np.uint64(32) else rest[:4] if state else b""
        lanes.append(words[4 * (end - place) : 4 * end] + rest)
    return write_payload(int(pushed.first), b"", lanes)
