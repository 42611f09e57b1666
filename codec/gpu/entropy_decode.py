"""Entropy decoding on a GPU: all lanes of a tile at once, each by a program of its own, to the very symbols that
`bitstream.TileDecoder` finds.

Nothing is read back between passes: how many symbols a pass codes stays on the device, so all of it can be captured as
a CUDA graph (`codec.realtime`). rANS is Duda, "Asymmetric numeral systems", arXiv 1311.2540; many coders beside each
other on a GPU are Giesen, "Interleaved entropy coders", arXiv 1402.3392.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from lapic.bitstream import MISMATCH, Error, Header, Payload, Tile
from lapic.bitstream.entropy import SYMBOL_MAX
from lapic.codec.exact.context import Coded, Pass
from lapic.codec.gpu.crc import symbols_crc
from lapic.codec.gpu.graph import cached_on_device, on_device
from lapic.codec.gpu.packed import ESCAPES_MAX, PackedTile, pack
from lapic.codec.gpu.tables import DeviceTables, tables_of
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import code_latents
from lapic.codec.nets import levels as levels_module
from lapic.codec.picture.tiling import Rect

ESCAPES = tl.constexpr(ESCAPES_MAX)
SYMBOL_LIMIT = tl.constexpr(SYMBOL_MAX)
# Symbols that a lane decodes between two writes to memory. A program is one warp, and each of its 32 threads keeps one
# symbol until all are written together: writing each symbol by itself would have 31 threads wait.
SYMBOLS_PER_STORE = tl.constexpr(32)


@triton.jit
def lane_range(lane_count, skipped, total):
    """First and last + 1 of the symbols, in the order of coding, that this program's lane has. The first `skipped` are
    not coded; the others are shared evenly. Programs beyond the last lane have none."""
    lane = tl.program_id(0)
    count = tl.load(lane_count)
    first = tl.load(skipped)
    begin = first + lane * (total - first) // count
    end = first + (lane + 1) * (total - first) // count
    return begin, tl.where(lane < count, end, begin)


@triton.jit
def _find_symbol(key, low_bits, starts, sums, guesses, lows, highs):
    """The symbol of table `key` whose counts include a state's low 24 bits, and the cumulated counts before and behind
    it: the guess for their highest 8 bits (`DeviceTables`), or one of the next symbols."""
    cell = key * 256 + (low_bits >> 16)
    value, below, above = tl.load(guesses + cell).to(tl.int32), tl.load(lows + cell), tl.load(highs + cell)
    if above <= low_bits:
        row = tl.load(starts + key) + 1
        while above <= low_bits:
            value += 1
            below = above
            above = tl.load(sums + row + value)
    return value, below, above


@triton.jit
def _list_escapes(escapes, over, here, target, width):
    """Append the symbols that are `over` their table's `width` to the list `escapes` of this pass: how many there are,
    then of each, in any order, its number in the order of coding, its place in the output and its width. Symbols
    beyond ESCAPES are counted, not listed."""
    slot = tl.atomic_add(escapes + 0 * here.to(tl.int32), 1, mask=over)
    listed = escapes + 1 + 3 * slot
    over = over & (slot < ESCAPES)
    tl.store(listed, here.to(tl.int32), mask=over)
    tl.store(listed + 1, target.to(tl.int32), mask=over)
    tl.store(listed + 2, width, mask=over)


@triton.jit(do_not_specialize=["total"])
def _decode_pass(
    lane_count, words, word_begins, states, word_ends, keys, order, skipped, total, starts, sums, guesses, lows, highs,
    widths, escapes, out,
):  # fmt: skip
    """Decode the symbols that one lane has of one pass.

    Args (pointers but for `total`):
        lane_count, words, word_begins, states, word_ends: the payload, see `PackedTile`; the last two are read and
            written, so that the next pass goes on from them.
        keys, order, skipped, total: of the pass' `total` symbols in the order of coding their tables and their places
            in `out`; the first `skipped` are not coded.
        starts, sums, guesses, lows, highs, widths: the model's tables, see `DeviceTables`.
        escapes: the list of the pass' escapes, see `_list_escapes`. out: the symbols.

    A symbol's decoding depends on the state that the one before leaves, so that chain decides how long a lane takes.
    What does not depend on the state, the next key and the next word, is loaded one symbol ahead.
    """
    lane = tl.program_id(0)
    at, end = lane_range(lane_count, skipped, total)
    floor = tl.load(word_begins + lane)
    state = tl.load(states + lane).to(tl.uint64, bitcast=True)
    place = tl.load(word_ends + lane)
    word = tl.load(words + place - 1, mask=place > floor, other=0)
    key = tl.load(keys + at, mask=at < end, other=0).to(tl.int32)
    within = tl.arange(0, SYMBOLS_PER_STORE)
    while at < end:
        here, inside = at + within, at + within < end
        target = tl.load(order + here, mask=inside, other=0)
        width = tl.load(widths + tl.load(keys + here, mask=inside, other=0).to(tl.int32))
        found = tl.zeros([SYMBOLS_PER_STORE], tl.int32)
        some = tl.minimum(end - at, SYMBOLS_PER_STORE).to(tl.int32)
        for number in range(some):
            next_at = at + number + 1
            next_key = tl.load(keys + next_at, mask=next_at < end, other=0).to(tl.int32)
            low_bits = (state & 0xFFFFFF).to(tl.int32)
            value, below, above = _find_symbol(key, low_bits, starts, sums, guesses, lows, highs)
            state = (state >> 24) * (above - below).to(tl.uint64) + (low_bits - below).to(tl.uint64)
            short = ((state >> 32) == 0) & (place > floor)  # a word is read
            state = tl.where(short, (state << 32) | word.to(tl.uint32, bitcast=True).to(tl.uint64), state)
            place -= short.to(tl.int32)
            word = tl.load(words + place - 1, mask=place > floor, other=0)
            found = tl.where(within == number, value, found)
            key = next_key
        tl.store(out + target, found.to(tl.int16), mask=inside)
        _list_escapes(escapes, inside & (found > width), here, target, width)
        at += some
    tl.store(states + lane, state.to(tl.int64, bitcast=True))
    tl.store(word_ends + lane, place)


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


@cached_on_device(maxsize=16)
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


class LaneDecoder:
    """As `bitstream.TileDecoder`, on a device: `hyper`, then `latent` for each pass. `packed` is on the tables' device
    and stays as it is."""

    def __init__(self, tables: DeviceTables, packed: PackedTile) -> None:
        self.tables, self.packed = tables, packed
        self.quality = packed.quality.long()  # (1,)
        self.states, self.word_ends = packed.states.clone().view(torch.int64), packed.word_ends.clone()
        self.escapes_used = torch.zeros_like(packed.escape_count)

    def decode(self, keys: Tensor, order: Tensor, skipped: Tensor) -> Tensor:
        """The symbols of a pass, as `hyper_order` or `latent_order` describe it: int16 of the same length, 0 where
        nothing is coded."""
        tables, packed, device = self.tables, self.packed, keys.device
        out = torch.zeros(len(keys), dtype=torch.int16, device=device)
        escapes = torch.zeros(1 + 3 * ESCAPES_MAX, dtype=torch.int32, device=device)
        _decode_pass[(packed.lanes,)](
            packed.lane_count, packed.words, packed.word_begins, self.states, self.word_ends,
            keys, order, skipped, len(keys),
            tables.starts, tables.sums, tables.guesses, tables.lows, tables.highs, tables.widths, escapes, out,
            num_warps=1,
        )  # fmt: skip
        _put_escapes[(1,)](escapes, packed.escapes, self.escapes_used, out)
        return out

    def hyper(self, rows: int, columns: int) -> Tensor:
        """The hyper-latent z, (Z, rows, columns) int16."""
        levels, channels = self.tables.shape
        level = levels_module.nearest_level(self.quality, levels)
        return self.decode(*hyper_order(self.tables, level, rows * columns)).reshape(channels, rows, columns)

    def latent(self, part: Pass, index: Tensor) -> Tensor:
        """The latent residuals of a pass, int16, for its scale indices of the same shape; 0 where it codes nothing."""
        return self.decode(*latent_order(part, index, self.packed.first_index)).reshape(index.shape)

    def whole(self) -> Tensor:
        """Whether the payload is used up, a truth value on the device."""
        used = (self.word_ends == self.packed.word_begins).all() & (self.states == 0).all()
        return used & (self.escapes_used == self.packed.escape_count).all()


def decode_packed(model: Model, packed: PackedTile, size: tuple[int, int]) -> tuple[Tensor, Coded, Tensor]:
    """Decode one tile of (h, w) = `size` places without host synchronisation.

    Returns:
        z (Z, h4, w4) int16; what `codec.exact.context` makes of it; and a truth value on the device, whether the
        payload was used up and the symbols have the checksum.
    """
    decoder = LaneDecoder(tables_of(model), packed)
    z = decoder.hyper(-(-size[0] // 4), -(-size[1] // 4))

    def code_pass(part: Pass, _: Tensor, index: Tensor) -> Tensor:
        return decoder.latent(part, index[0])[None].float()  # (1, D, h, w)

    coded = code_latents(model, z[None].float(), decoder.quality, size, code_pass)
    return z, coded, decoder.whole() & (symbols_crc(z, coded.symbol[0]) == packed.crc).all()


def decode_symbols(model: Model, header: Header, tile: Tile, rect: Rect, payload: Payload) -> tuple[Tensor, Coded]:
    """As `codec.decode.symbols.decode_symbols`, of a payload that `fits`, on the model's device."""
    packed = pack(payload, header.quality, tile.crc).to(model.device)
    with on_device(model.device):
        z, coded, whole = decode_packed(model, packed, (rect.height, rect.width))
    if not whole:
        raise Error(MISMATCH)
    return z, coded
