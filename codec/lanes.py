"""Entropy decoding on a GPU: all lanes of a tile at once, each by a program of its own, to the very symbols that
`bitstream.TileDecoder` finds.

The host is never asked between passes: how many symbols a pass codes stays on the device, so all of it can be captured
as a CUDA graph (`codec.realtime`). rANS is Duda, "Asymmetric numeral systems", arXiv 1311.2540; many coders beside each
other on a GPU are Giesen, "Interleaved entropy coders", arXiv 1402.3392.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from bitstream import MISMATCH, PRECISION, Error, Header, Payload, Tables, Tile, symbols_crc
from codec import hyper
from codec.context import Coded, Pass, code_latents
from codec.model import Model
from codec.tiling import Rect

GUESS_BITS = 8  # of a state's low part, by which a table of guesses says where to look for the symbol
HEAD = 4  # numbers before the lanes in what `pack` makes


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
    lanes, words, offsets, states, places, keys, order, skipped, total, starts, sums, guesses, centres, out
):  # fmt: skip
    """The symbols of one pass that one lane has. `keys` are the tables of the symbols in the order of coding, of which
    the first `skipped` are not coded, and `order` says where each belongs in `out`."""
    lane = tl.program_id(0)
    at, end = share_of_lane(lanes, skipped, total)
    floor = tl.load(offsets + lane)
    state = tl.load(states + lane).to(tl.uint64, bitcast=True)
    place = tl.load(places + lane)
    while at < end:
        key = tl.load(keys + at).to(tl.int32)
        row = tl.load(starts + key)
        low_bits = (state & 0xFFFFFF).to(tl.int32)
        symbol = tl.load(guesses + key * 256 + (low_bits >> 16)).to(tl.int32)
        above = tl.load(sums + row + symbol + 1)
        while above <= low_bits:
            symbol += 1
            above = tl.load(sums + row + symbol + 1)
        below = tl.load(sums + row + symbol)
        state = (state >> 24) * (above - below).to(tl.uint64) + (low_bits - below).to(tl.uint64)
        if ((state >> 32) == 0) & (place > floor):
            place -= 1
            state = (state << 32) | tl.load(words + place).to(tl.uint32, bitcast=True).to(tl.uint64)
        tl.store(out + tl.load(order + at), (symbol - tl.load(centres + key)).to(tl.int16))
        at += 1
    tl.store(states + lane, state.to(tl.int64, bitcast=True))
    tl.store(places + lane, place)


@dataclass(frozen=True)
class DeviceTables:
    """All tables of a model on a device: the 64 of the latents, then those of the hyper-latent's channels, rate level
    by rate level.

    Attributes:
        starts: of each table in `sums`, (T,) int32. sums: cumulated counts, from 0 to 2^24 in each table, int32.
        guesses: (T, 256) int16, the symbol of the least state that begins with these 8 bits.
        centres: the symbol that means 0, (T,) int32.
        latents: how many of the tables are the latents'. shape: (L, Z) of the others.
    """

    starts: Tensor
    sums: Tensor
    guesses: Tensor
    centres: Tensor
    latents: int
    shape: tuple[int, int]


def device_tables(tables: Tables, device: torch.device) -> DeviceTables:
    """Bring a model's tables to a device."""
    levels, channels, symbols = tables.hyper.shape
    counts = [*tables.latent, *tables.hyper.reshape(-1, symbols)]
    sums = [np.concatenate([[0], np.cumsum(table, dtype=np.int64)]).astype(np.int32) for table in counts]
    asked = np.arange(2**GUESS_BITS) << (PRECISION - GUESS_BITS)
    guesses = np.stack([np.searchsorted(table, asked, side="right") - 1 for table in sums]).astype(np.int16)
    starts = np.cumsum([0, *map(len, sums[:-1])]).astype(np.int32)
    centres = np.array([(len(table) - 1) // 2 for table in counts], np.int32)
    every = (torch.from_numpy(array).to(device) for array in (starts, np.concatenate(sums), guesses, centres))
    return DeviceTables(*every, latents=len(tables.latent), shape=(levels, channels))


_KEPT: dict[tuple[bytes, torch.device], DeviceTables] = {}  # by the id that names them


def tables_of(model: Model) -> DeviceTables:
    """A model's tables on its device, brought there once."""
    key = model.identity, model.device
    if key not in _KEPT:
        _KEPT[key] = device_tables(model.tables, model.device)
    return _KEPT[key]


def packed_size(lanes: int, words: int) -> int:
    """How many numbers `pack` makes for so many lanes and words at most."""
    return HEAD + 4 * lanes + words


def pack(payload: Payload, quality: float, lanes: int = 0, out: NDArray[np.int32] | None = None) -> NDArray[np.int32]:
    """What a device needs of a payload, in one array: the number of lanes, the first scale index that is coded, the
    fixed-point quality and 0; then for each lane, of `lanes` at least, its state (two numbers), where the next word
    ends and where its words begin; then all words.

    Args:
        out: an array of at least `packed_size` to write to.
    """
    count = len(payload.lanes)
    lanes = max(lanes, count)
    lengths = np.array([len(words) for words in payload.lanes])
    ends = np.cumsum(lengths)
    if out is None:
        out = np.zeros(packed_size(lanes, int(ends[-1])), np.int32)
    out[:HEAD] = count, payload.first, round(quality * hyper.QUALITY_ONE), 0
    out[HEAD : HEAD + 4 * lanes] = 0  # of lanes that are not used it must look as if they were done
    states, places, offsets = np.split(out[HEAD : HEAD + 4 * lanes], [2 * lanes, 3 * lanes])
    states[: 2 * count] = np.array([_first_state(words) for words in payload.lanes], np.uint64).view(np.int32)
    places[:count] = np.maximum(lengths - 2, 0) + ends - lengths
    offsets[:count] = ends - lengths
    np.concatenate(payload.lanes, out=out[HEAD + 4 * lanes :][: ends[-1]].view(np.uint32))
    return out


def _first_state(words: NDArray[np.uint32]) -> int:
    """What a coder's state is before the first symbol: its last two words."""
    return sum(int(word) << 32 * number for number, word in enumerate(words[-2:]))


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
    """As `bitstream.TileDecoder`, on a device, for payloads without escapes: `hyper`, then `latent` for each pass.

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

    def _pass(self, keys: Tensor, order: Tensor, skipped: Tensor) -> Tensor:
        """int16 of the same length, 0 where nothing is coded."""
        tables, out = self.tables, torch.zeros(len(keys), dtype=torch.int16, device=keys.device)
        _decode_pass[(self.lanes,)](
            self.count, self.words, self.offsets, self.states, self.places, keys, order, skipped, len(keys),
            tables.starts, tables.sums, tables.guesses, tables.centres, out, num_warps=1,
        )  # fmt: skip
        return out

    def hyper(self, rows: int, columns: int) -> Tensor:
        """The hyper-latent z, (Z, rows, columns) int16."""
        levels, channels = self.tables.shape
        level = hyper.nearest_level(self.quality, levels)
        return self._pass(*hyper_order(self.tables, level, rows * columns)).reshape(channels, rows, columns)

    def latent(self, part: Pass, index: Tensor) -> Tensor:
        """The latent residuals of a pass, int16, for its scale indices of the same shape; 0 where it codes nothing."""
        return self._pass(*latent_order(part, index, self.first)).reshape(index.shape)

    def whole(self) -> Tensor:
        """Whether the payload is used up, a truth value on the device."""
        return (self.places == self.offsets).all() & (self.states == 0).all()


def decode_packed(model: Model, packed: Tensor, lanes: int, size: tuple[int, int]) -> tuple[Tensor, Coded, Tensor]:
    """The integers of one tile of h x w places, without a word to the host: z (Z, h4, w4) int16, what
    `codec.context` makes of it, and whether the payload was used up."""
    decoder = LaneDecoder(tables_of(model), packed, lanes)
    z = decoder.hyper(-(-size[0] // 4), -(-size[1] // 4))

    def visit(part: Pass, _: Tensor, index: Tensor) -> Tensor:
        return decoder.latent(part, index[0])[None].float()  # (1, D, h, w)

    coded = code_latents(model, z[None].float(), decoder.quality, size, visit)
    return z, coded, decoder.whole()


def decode_symbols(
    model: Model, header: Header, tile: Tile, rect: Rect, payload: Payload
) -> tuple[NDArray[np.int8], NDArray[np.int16], Coded]:
    """As `codec.decoder.decode_symbols`, of a payload without escapes, on the model's device."""
    packed = torch.from_numpy(pack(payload, header.quality)).to(model.device)
    z, coded, whole = decode_packed(model, packed, len(payload.lanes), (rect.height, rect.width))
    found = z.to(torch.int8).cpu().numpy(), coded.symbol[0].to(torch.int16).cpu().numpy()
    if not whole or symbols_crc(*found) != tile.crc:
        raise Error(MISMATCH)
    return *found, coded
