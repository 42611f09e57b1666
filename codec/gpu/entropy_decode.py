"""Entropy decoding on a GPU: all lanes of a tile at once, each by a program of its own, to the very symbols that
`bitstream.TileDecoder` finds.

The host is never asked between passes: how many symbols a pass codes stays on the device, so all of it can be captured
as a CUDA graph (`codec.realtime`). rANS is Duda, "Asymmetric numeral systems", arXiv 1311.2540; many coders beside each
other on a GPU are Giesen, "Interleaved entropy coders", arXiv 1402.3392.
"""

from functools import lru_cache

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from lapic.bitstream import MISMATCH, Error, Header, Payload, Tile
from lapic.bitstream.entropy import SYMBOL_MAX
from lapic.bitstream.varint import Reader
from lapic.codec.exact.context import Coded, Pass
from lapic.codec.gpu.crc import symbols_crc
from lapic.codec.gpu.tables import DeviceTables, tables_of
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import code_latents
from lapic.codec.nets import levels as levels_module
from lapic.codec.picture.tiling import Rect

ESCAPES = tl.constexpr(1024)  # that a payload may have
SYMBOL_LIMIT = tl.constexpr(SYMBOL_MAX)
AT_ONCE = tl.constexpr(32)  # symbols of a lane that are written together
HEAD = 5 + ESCAPES.value  # numbers before the lanes in what `pack` makes


@triton.jit
def share_of_lane(lanes, skipped, total):
    """Where this program's part of the symbols in the order of coding begins and ends, of which the first `skipped` are
    not coded; nothing beyond the last of the `lanes`."""
    lane = tl.program_id(0)
    count = tl.load(lanes)
    first = tl.load(skipped)
    begin = first + lane * (total - first) // count
    end = first + (lane + 1) * (total - first) // count
    return begin, tl.where(lane < count, end, begin)


@triton.jit(do_not_specialize=["total"])
def _decode_pass(
    lanes, words, offsets, states, places, keys, order, skipped, total, starts, sums, guesses, lows, highs, widths,
    escapes, out,
):  # fmt: skip
    """The symbols of one pass that one lane has. `keys` are the tables of the symbols in the order of coding, of which
    the first `skipped` are not coded, and `order` says where each belongs in `out`.

    What does not depend on the state, the next key and word, is fetched before it is needed: the way from one state to
    the next is what takes time. Symbols that are escapes are listed in `escapes`, behind how many there are."""
    lane = tl.program_id(0)
    at, end = share_of_lane(lanes, skipped, total)
    floor = tl.load(offsets + lane)
    state = tl.load(states + lane).to(tl.uint64, bitcast=True)
    place = tl.load(places + lane)
    word = tl.load(words + place - 1, mask=place > floor, other=0)
    key = tl.load(keys + at, mask=at < end, other=0).to(tl.int32)
    within = tl.arange(0, AT_ONCE)
    while at < end:
        here, inside = at + within, at + within < end
        target = tl.load(order + here, mask=inside, other=0)
        width = tl.load(widths + tl.load(keys + here, mask=inside, other=0).to(tl.int32))
        found = tl.zeros([AT_ONCE], tl.int32)
        some = tl.minimum(end - at, AT_ONCE).to(tl.int32)
        for number in range(some):
            next_at = at + number + 1
            next_key = tl.load(keys + next_at, mask=next_at < end, other=0).to(tl.int32)
            low_bits = (state & 0xFFFFFF).to(tl.int32)
            cell = key * 256 + (low_bits >> 16)
            value, below, above = tl.load(guesses + cell).to(tl.int32), tl.load(lows + cell), tl.load(highs + cell)
            if above <= low_bits:
                row = tl.load(starts + key) + 1
                while above <= low_bits:
                    value += 1
                    below = above
                    above = tl.load(sums + row + value)
            state = (state >> 24) * (above - below).to(tl.uint64) + (low_bits - below).to(tl.uint64)
            short = ((state >> 32) == 0) & (place > floor)
            state = tl.where(short, (state << 32) | word.to(tl.uint32, bitcast=True).to(tl.uint64), state)
            place -= short.to(tl.int32)
            word = tl.load(words + place - 1, mask=place > floor, other=0)
            found = tl.where(within == number, value, found)
            key = next_key
        tl.store(out + target, found.to(tl.int16), mask=inside)
        over = inside & (found > width)
        slot = tl.atomic_add(escapes + 0 * found, 1, mask=over)
        listed = escapes + 1 + 3 * slot
        over = over & (slot < ESCAPES)
        tl.store(listed, here.to(tl.int32), mask=over)
        tl.store(listed + 1, target.to(tl.int32), mask=over)
        tl.store(listed + 2, width, mask=over)
        at += some
    tl.store(states + lane, state.to(tl.int64, bitcast=True))
    tl.store(places + lane, place)


@triton.jit
def _put_escapes(escapes, values, taken, out):
    """Put the values of a pass' escapes, listed in `escapes` in any order, into `out`: the values stand in the order of
    coding, the first `taken` of them have been used. After a value beyond -32767..32767 `taken` is never the number of
    all escapes, so that the payload is refused."""
    count = tl.minimum(tl.load(escapes), ESCAPES)
    first = tl.load(taken)
    slot = tl.arange(0, ESCAPES)
    mine = tl.load(escapes + 1 + 3 * slot, mask=slot < count, other=0)
    number = slot * 0 + first
    for other in range(count):
        number += (tl.load(escapes + 1 + 3 * other) < mine).to(tl.int32)
    value = tl.load(values + number, mask=(slot < count) & (number < ESCAPES), other=0)
    width = tl.load(escapes + 3 + 3 * slot, mask=slot < count, other=0)
    magnitude = width + 1 + (value >> 1)
    beyond = tl.max(((slot < count) & (magnitude > SYMBOL_LIMIT)).to(tl.int32))
    target = tl.load(escapes + 2 + 3 * slot, mask=slot < count, other=0)
    tl.store(out + target, tl.where(value % 2 == 1, -magnitude, magnitude).to(tl.int16), mask=slot < count)
    tl.store(taken, first + tl.load(escapes) + beyond * 2 * ESCAPES)  # which no payload has


def packed_size(lanes: int, words: int) -> int:
    """How many numbers `pack` makes for so many lanes and words at most."""
    return HEAD + 4 * lanes + words


def pack(
    payload: Payload, quality: float, lanes: int = 0, out: NDArray[np.int32] | None = None, crc: int = 0
) -> NDArray[np.int32]:
    """What a device needs of a payload, in one array: the number of lanes, the first scale index that is coded, the
    fixed-point quality, the checksum of the symbols, the number of escapes and these; then for each lane, of `lanes` at
    least, its state (two numbers), where the next word ends and where its words begin; then all words.

    Args:
        out: an array of at least `packed_size` to write to.

    Raises:
        Error: the escapes are damaged or too many.
    """
    count = len(payload.lanes)
    lanes = max(lanes, count)
    lengths = np.array([len(words) for words in payload.lanes])
    ends = np.cumsum(lengths)
    escapes = _escapes(payload)
    if out is None:
        out = np.zeros(packed_size(lanes, int(ends[-1])), np.int32)
    out[:5] = (
        count,
        payload.first,
        round(quality * levels_module.QUALITY_ONE),
        np.uint32(crc).view(np.int32),
        len(escapes),
    )
    out[5 : 5 + len(escapes)] = escapes
    out[HEAD : HEAD + 4 * lanes] = 0  # of lanes that are not used it must look as if they were done
    states, places, offsets = np.split(out[HEAD : HEAD + 4 * lanes], [2 * lanes, 3 * lanes])
    places[:count] = np.maximum(lengths - 2, 0) + ends - lengths
    offsets[:count] = ends - lengths
    words = out[HEAD + 4 * lanes :][: ends[-1]]
    np.concatenate(payload.lanes, out=words.view(np.uint32))
    for word in (0, 1):  # a coder's state before the first symbol is its last two words
        there = lengths > word
        states[word : 2 * count : 2][there] = words[places[:count][there] + word]
    return out


def _escapes(payload: Payload) -> list[int]:
    """The numbers that stand for escapes, see FORMAT.md."""
    if not fits(payload):
        raise Error(f"a tile has more than {ESCAPES.value} escapes")
    reader, values = Reader(payload.escapes), []
    while reader.left:
        values.append(reader.varint(2 * SYMBOL_MAX))
    return values


def fits(payload: Payload) -> bool:
    """Whether a payload has no more escapes than the kernels take; the last byte of each is below 128."""
    return np.count_nonzero(np.frombuffer(payload.escapes, np.uint8) < 128) <= ESCAPES.value


@lru_cache(maxsize=16)
def _raster(channels: int, plane: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Channel and place of each number of an array (channels, plane)."""
    channel = torch.arange(channels, device=device, dtype=torch.int16)
    return channel.repeat_interleave(plane), torch.arange(channels * plane, device=device)


def hyper_order(tables: DeviceTables, level: Tensor, plane: int) -> tuple[Tensor, Tensor, Tensor]:
    """For the symbols of a hyper-latent in the order of coding their tables, those of a rate level (1,), their places,
    and how many of them are not coded, (1,)."""
    channels = tables.shape[1]
    channel, order = _raster(channels, plane, level.device)
    return (tables.latents + level * channels + channel).to(torch.int16), order, torch.zeros_like(level)


def latent_order(part: Pass, index: Tensor, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same for a pass' latents, by their scale indices (D, h, w) and the first one of these that is coded, (1,)."""
    index = index.to(torch.int8)
    coded = index if part.places is None else torch.where(part.places, index, -1)
    keys, order = torch.sort(coded.flatten(), stable=True)
    return keys, order, (keys < first).sum().reshape(1)


def quality_of(packed: Tensor) -> Tensor:
    """The fixed-point quality, (1,), in what `pack` made."""
    return packed[2:3].long()


class LaneDecoder:
    """As `bitstream.TileDecoder`, on a device: `hyper`, then `latent` for each pass.

    Args:
        packed: as `pack` makes it, for `lanes` lanes at most, on the tables' device.
    """

    def __init__(self, tables: DeviceTables, packed: Tensor, lanes: int) -> None:
        self.tables, self.lanes = tables, lanes
        self.count, self.first, self.quality = packed[0:1], packed[1:2], quality_of(packed)
        states, self.places, self.offsets, self.words = packed[HEAD:].split(
            [2 * lanes, lanes, lanes, len(packed) - packed_size(lanes, 0)]
        )
        self.states, self.places = states.clone().view(torch.int64), self.places.clone()
        self.values, self.taken = packed[5:HEAD], torch.zeros_like(self.count)
        self.escapes = packed[4:5]

    def _pass(self, keys: Tensor, order: Tensor, skipped: Tensor) -> Tensor:
        """int16 of the same length, 0 where nothing is coded."""
        tables, device = self.tables, keys.device
        out = torch.zeros(len(keys), dtype=torch.int16, device=device)
        escapes = torch.zeros(1 + 3 * ESCAPES.value, dtype=torch.int32, device=device)
        _decode_pass[(self.lanes,)](
            self.count, self.words, self.offsets, self.states, self.places, keys, order, skipped, len(keys),
            tables.starts, tables.sums, tables.guesses, tables.lows, tables.highs, tables.widths, escapes, out,
            num_warps=1,
        )  # fmt: skip
        _put_escapes[(1,)](escapes, self.values, self.taken, out)
        return out

    def hyper(self, rows: int, columns: int) -> Tensor:
        """The hyper-latent z, (Z, rows, columns) int16."""
        levels, channels = self.tables.shape
        level = levels_module.nearest_level(self.quality, levels)
        return self._pass(*hyper_order(self.tables, level, rows * columns)).reshape(channels, rows, columns)

    def latent(self, part: Pass, index: Tensor) -> Tensor:
        """The latent residuals of a pass, int16, for its scale indices of the same shape; 0 where it codes nothing."""
        return self._pass(*latent_order(part, index, self.first)).reshape(index.shape)

    def whole(self) -> Tensor:
        """Whether the payload is used up, a truth value on the device."""
        used = (self.places == self.offsets).all() & (self.states == 0).all()
        return used & (self.taken == self.escapes).all()


def decode_packed(model: Model, packed: Tensor, lanes: int, size: tuple[int, int]) -> tuple[Tensor, Coded, Tensor]:
    """The integers of one tile of h x w places, without a word to the host: z (Z, h4, w4) int16, what
    `codec.exact.context` makes of it, and whether the payload was used up and gave symbols of the checksum."""
    decoder = LaneDecoder(tables_of(model), packed, lanes)
    z = decoder.hyper(-(-size[0] // 4), -(-size[1] // 4))

    def code_pass(part: Pass, _: Tensor, index: Tensor) -> Tensor:
        return decoder.latent(part, index[0])[None].float()  # (1, D, h, w)

    coded = code_latents(model, z[None].float(), decoder.quality, size, code_pass)
    return z, coded, decoder.whole() & (symbols_crc(z, coded.symbol[0]) == packed[3:4]).all()


def decode_symbols(
    model: Model, header: Header, tile: Tile, rect: Rect, payload: Payload
) -> tuple[NDArray[np.int8], NDArray[np.int16], Coded]:
    """As `codec.decode.symbols.decode_symbols`, of a payload that `fits`, on the model's device."""
    packed = torch.from_numpy(pack(payload, header.quality, crc=tile.crc)).to(model.device)
    z, coded, whole = decode_packed(model, packed, len(payload.lanes), (rect.height, rect.width))
    if not whole:
        raise Error(MISMATCH)
    return z.to(torch.int8).cpu().numpy(), coded.symbol[0].to(torch.int16).cpu().numpy(), coded
