"""Entropy encoding on a GPU: all lanes of a tile at once, to the very bytes that `bitstream.encode_tile` makes.

As in `codec.gpu.entropy_decode` nothing is read back before all is done. What a coder pushes last is popped first, so
passes and symbols are taken from the end.
"""

from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from lapic.bitstream import LANE_SYMBOLS, write_payload
from lapic.bitstream.varint import write_varint
from lapic.codec.exact.context import Coded, low_channels, passes
from lapic.codec.gpu.crc import symbols_crc
from lapic.codec.gpu.entropy_decode import ESCAPES, hyper_order, lane_range, latent_order
from lapic.codec.gpu.packed import ESCAPES_MAX
from lapic.codec.gpu.tables import tables_of
from lapic.codec.model.codec_weights import Model


@triton.jit(do_not_specialize=["total", "capacity", "part"])
def _encode_pass(
    lanes, words, capacity, states, places, keys, order, skipped, total, symbols, starts, sums, widths, part, escapes,
    failed,
):  # fmt: skip
    """Push the symbols of one pass that one lane has, the last one first. `keys`, `order` and `skipped` are as for
    decoding. Escapes are listed in `escapes`, behind how many there are, with the number `part` of the pass; `failed`
    is set if the words are more than a lane's `capacity`. What comes next is fetched before it is needed."""
    lane = tl.program_id(0)
    begin, at = lane_range(lanes, skipped, total)
    state = tl.load(states + lane).to(tl.uint64, bitcast=True)
    place = tl.load(places + lane)
    key = tl.load(keys + at - 1, mask=at > begin, other=0).to(tl.int32)
    target = tl.load(order + at - 1, mask=at > begin, other=0)
    value = tl.load(symbols + target, mask=at > begin, other=0).to(tl.int32)
    target = tl.load(order + at - 2, mask=at - 1 > begin, other=0)
    while at > begin:
        at -= 1
        next_key = tl.load(keys + at - 1, mask=at > begin, other=0).to(tl.int32)
        next_value = tl.load(symbols + target, mask=at > begin, other=0).to(tl.int32)
        target = tl.load(order + at - 2, mask=at - 1 > begin, other=0)
        width = tl.load(widths + key)
        over = tl.abs(value) - width
        if over > 0:
            listed = tl.atomic_add(escapes, 1)
            if listed < ESCAPES:
                tl.store(escapes + 1 + 3 * listed, part)
                tl.store(escapes + 2 + 3 * listed, at.to(tl.int32))
                tl.store(escapes + 3 + 3 * listed, 2 * over - 2 + (value < 0).to(tl.int32))
            value = width + 1
        if place >= capacity:
            tl.store(failed, 1)
            place = 0
        row = tl.load(starts + key) + value
        below = tl.load(sums + row)
        size = (tl.load(sums + row + 1) - below).to(tl.uint64)
        if (state >> 40) >= size:
            low = (state & 0xFFFFFFFF).to(tl.uint32)
            tl.store(words + lane * capacity + place, low.to(tl.int32, bitcast=True))
            place += 1
            state = state >> 32
        state = ((state // size) << 24) | (below.to(tl.uint64) + state % size)
        key = next_key
        value = next_value
    tl.store(states + lane, state.to(tl.int64, bitcast=True))
    tl.store(places + lane, place)


@dataclass(frozen=True)
class Pushed:
    """What a device knows of a tile's payload, all tensors on it.

    Attributes:
        words: (lanes at most, words at most of each), int32. places: how many of them each lane has, int32.
        states: of the coders in the end, int64.
        count: of lanes, first: scale index whose symbols are coded, failed: whether the words were too many, crc: the
            checksum of the symbols; (1,).
        escapes: how many there are, then of each in any order pass, place in the order of coding, and number; int32.
    """

    words: Tensor
    places: Tensor
    states: Tensor
    count: Tensor
    first: Tensor
    failed: Tensor
    crc: Tensor
    escapes: Tensor


def push(model: Model, z: Tensor, coded: Coded, level: Tensor, lanes: int, capacity: int) -> Pushed:
    """Encode a tile without host synchronisation.

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
    sizes = lanes, 1, 1 + 3 * ESCAPES_MAX
    places, failed, escapes = (torch.zeros(size, dtype=torch.int32, device=device) for size in sizes)

    def code(number: int, symbols: Tensor, keys: Tensor, order: Tensor, skipped: Tensor) -> None:
        _encode_pass[(lanes,)](
            count, words, capacity, states, places, keys, order, skipped, len(keys), symbols,
            tables.starts, tables.sums, tables.widths, number, escapes, failed, num_warps=1,
        )  # fmt: skip

    for number, part in reversed(list(enumerate(passes(low_channels(model.integers), index.shape, device)))):
        code(number, symbol[part.channels].flatten(), *latent_order(part, index[part.channels], first))
    code(0, z[0].to(torch.int16).flatten(), *hyper_order(tables, level, z.shape[2] * z.shape[3]))
    crc = symbols_crc(z[0], symbol)
    return Pushed(words, places, states, count, first, failed, crc, escapes)


def payload_of(pushed: Pushed) -> bytes | None:
    """The bytes, once they are there; None if a processor has to make them."""
    escapes = pushed.escapes.cpu()
    if pushed.failed or escapes[0] > ESCAPES_MAX:
        return None
    in_order = sorted(escapes[1:].reshape(-1, 3)[: int(escapes[0])].tolist())
    outside = b"".join(write_varint(number) for _, _, number in in_order)
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
    return write_payload(int(pushed.first), outside, lanes)
