"""Entropy coding of one tile: symbols <-> bytes, with constriction's ANS coder and integer probability tables.

Latents come in passes, because what one pass says may decide the scale indices of the next. All latents of a pass that
share a scale index share one probability table, so they are sorted by index (stable, hence in raster
order within a group) and each group is coded with a single call. Latents of scale index 0, whose table says "zero"
with near certainty, are left out altogether unless one of them is not zero.

A payload may be cut into lanes, for a decoder that can decode many at once: each has a coder of its own, and an equal
share of every pass, in the order of coding.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import constriction
import numpy as np
from numpy.typing import NDArray

from lapic.bitstream.error import Error
from lapic.bitstream.ranges import check_range
from lapic.bitstream.varint import Reader, write_varint

PRECISION = 24
SYMBOL_MAX, INDEX_MAX = 32767, 63
STATE_BITS = 64  # of the coder: what a payload may hold more than its words
LANES_MAX = 65536
LANE_SYMBOLS = 2900  # that are not 0, for each lane that `lanes_for` asks for; at 4.1 to 4.9 bits each 1.5 KiB
_CODES_GROUP_0, _HAS_ESCAPES, _HAS_LANES = 1, 2, 4
MISMATCH = "a tile's checksum does not match: the file is damaged, or this device decodes inexactly"


@dataclass(frozen=True)
class Tables:
    """Integer probabilities in units of 2^-24, every entry at least 1, every table summing to 2^24.

    `hyper`: (L, Z, 2R + 1), the probability of -R..R for each rate level and hyper-latent channel. `latent`: one array
    for each scale index; its entries are the probabilities of -w..w and, last, of "escape", so its length is 2w + 2.
    """

    hyper: NDArray[np.int32]
    latent: list[NDArray[np.int32]]

    @cached_property
    def hyper_models(self) -> list[list[constriction.stream.model.Categorical]]:
        """The coder's models of `hyper`, built once for all tiles."""
        return [[_model(counts) for counts in level] for level in self.hyper]

    @cached_property
    def latent_models(self) -> list[constriction.stream.model.Categorical]:
        """The coder's models of `latent`, built once for all tiles."""
        return [_model(counts) for counts in self.latent]

    @cached_property
    def half_widths(self) -> NDArray[np.int32]:
        """w of each of `latent`, (64,)."""
        return np.array([half_width(counts) for counts in self.latent], np.int32)

    def check(self) -> None:
        """Raise ValueError unless every table is valid."""
        for table in [*self.hyper.reshape(-1, self.hyper.shape[-1]), *self.latent]:
            if table.min() < 1 or table.sum(dtype=np.int64) != 2**PRECISION:
                raise ValueError("a probability table has an entry below 1 or does not sum to 2^24")
        if self.hyper.shape[-1] % 2 == 0 or any(len(table) % 2 for table in self.latent):
            raise ValueError("a probability table has the wrong length")


def half_width(counts: NDArray[np.int32]) -> int:
    """w of a table for -w..w and "escape"."""
    return len(counts) // 2 - 1


def _model(counts: NDArray[np.int32]) -> constriction.stream.model.Categorical:
    """A constriction model with exactly these counts: it gives each symbol one unit and scales the rest to fill 2^24,
    so with one unit taken from each its scale factor is exactly 1."""
    return constriction.stream.model.Categorical((counts - 1).astype(np.float64), perfect=False)


def symbols_crc(z: NDArray[np.int8], symbols: NDArray[np.int16]) -> int:
    """CRC-32 of a tile's symbols: z as int8, then y as little-endian int16, each in (channel, row, column) order."""
    return zlib.crc32(np.ascontiguousarray(symbols, "<i2").data, zlib.crc32(np.ascontiguousarray(z, np.int8).data))


def _groups(index: NDArray[np.uint8], first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order that sorts the latents whose scale index is `first` or more by it, and for each index where its group
    begins (65 numbers). The others, half of all and more, are not worth the sorting."""
    coded = np.flatnonzero(index >= first)
    values = index[coded]
    order = coded[np.argsort(values, kind="stable")]  # a radix sort on uint8
    begins = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=INDEX_MAX + 1))])
    return order, begins


def _segments(begins: NDArray[np.int64], lanes: int) -> Iterator[tuple[int, int, slice]]:
    """How a pass whose groups begin at `begins` (and end at its last number) goes through the lanes: (lane, group,
    places), in the order of coding."""
    count = int(begins[-1])
    cuts = [lane * count // lanes for lane in range(lanes + 1)]
    edges = np.union1d(begins, cuts)
    starts = edges[:-1]
    groups = np.searchsorted(begins, starts, side="right") - 1
    for_lanes = np.searchsorted(cuts, starts, side="right") - 1
    for lane, group, begin, end in zip(for_lanes, groups, starts, edges[1:], strict=True):
        yield int(lane), int(group), slice(int(begin), int(end))


def encode_tile(
    tables: Tables,
    level: int,
    z: NDArray[np.int8],
    passes: Sequence[tuple[NDArray[np.int16], NDArray[np.uint8]]],
    lanes: int = 1,
) -> bytes:
    """Encode a tile.

    Args:
        level: whose tables of the hyper-latent are used, 0..L-1.
        z: (Z, h4, w4) hyper-latent, within the range of `tables.hyper`.
        passes: in the order of decoding, each the latent residuals, -32767..32767, and their scale indices, 0..63, two
            arrays of the same shape.
        lanes: that can be decoded at once, 1..65536; each costs about 6 bytes.

    Raises:
        ValueError: a number is out of range, or shapes do not fit.
        TypeError: symbols or scale indices are no integers.
    """
    levels, channels, reach = *tables.hyper.shape[:2], tables.hyper.shape[2] // 2
    if not (0 <= level < levels and 1 <= lanes <= LANES_MAX and len(z) == channels):
        raise ValueError(f"level {level}, {lanes} lanes or {len(z)} channels are out of range for these tables")
    check_range("hyper-latents", z, -reach, reach)
    for symbols, index in passes:
        if symbols.shape != index.shape:
            raise ValueError(f"residuals {symbols.shape} and scale indices {index.shape} differ in shape")
        check_range("residuals", symbols, -SYMBOL_MAX, SYMBOL_MAX)
        check_range("scale indices", index, 0, INDEX_MAX)
    coders, escapes = [constriction.stream.stack.AnsCoder() for _ in range(lanes)], []
    first = 0 if any(symbols[index == 0].any() for symbols, index in passes) else 1
    for symbols, index in reversed(passes):  # ANS is a stack: last in, first out
        order, begins = _groups(index.ravel(), first)
        in_order = symbols.ravel()[order].astype(np.int32)
        for lane, group, places in reversed(list(_segments(begins, lanes))):
            values = in_order[places]
            width = half_width(tables.latent[group])
            outside = np.abs(values) > width
            if outside.any():
                over = np.abs(values[outside]) - width - 1
                signs = values[outside] < 0
                escapes.append(b"".join(write_varint(2 * int(o) + int(s)) for o, s in zip(over, signs, strict=True)))
            coded = np.where(outside, 2 * width + 1, values + width).astype(np.int32)
            coders[lane].encode_reverse(coded, tables.latent_models[group])
    in_order = z.ravel().astype(np.int32) + reach
    for lane, channel, places in reversed(list(_segments(_planes(z.shape), lanes))):
        coders[lane].encode_reverse(in_order[places], tables.hyper_models[level][channel])
    words = [coder.get_compressed().astype("<u4").tobytes() for coder in coders]
    return write_payload(first, b"".join(reversed(escapes)), words)


def write_payload(first: int, escapes: bytes, lanes: list[bytes]) -> bytes:
    """The payload that `read_payload` takes apart."""
    several = len(lanes) > 1
    head = [bytes([(1 - first) * _CODES_GROUP_0 | bool(escapes) * _HAS_ESCAPES | several * _HAS_LANES])]
    if escapes:
        head += [write_varint(len(escapes)), escapes]
    if several:
        head += [write_varint(len(lanes)), *(write_varint(len(lane) // 4) for lane in lanes)]
    return b"".join(head + lanes)


def lanes_for(symbols: int) -> int:
    """How many lanes are worth their bytes in a tile with so many latents that are not 0."""
    return min(max(1, symbols // LANE_SYMBOLS), LANES_MAX)


def _planes(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Where each channel of an array (C, h, w) begins, and where the last one ends."""
    return np.arange(shape[0] + 1) * shape[1] * shape[2]


@dataclass(frozen=True)
class Payload:
    """A tile's payload, taken apart but not decoded: the first scale index whose symbols are coded (0 or 1), the
    escapes, and each lane's words of 32 bits."""

    first: int
    escapes: bytes
    lanes: list[NDArray[np.uint32]]


def read_payload(payload: bytes) -> Payload:
    """Take a payload apart. Raises `Error` if it cannot be any coder's."""
    reader = Reader(payload)
    flags = reader.uint(1)
    if flags > (_CODES_GROUP_0 | _HAS_ESCAPES | _HAS_LANES):
        raise Error(f"tile flags {flags:#04x} are unknown")
    escapes = reader.take(reader.varint()) if flags & _HAS_ESCAPES else b""
    if flags & _HAS_LANES:
        count = reader.varint()
        if not 2 <= count <= LANES_MAX:
            raise Error(f"a tile's payload is damaged: it cannot have {count} lanes")
        lengths = [reader.varint() for _ in range(count)]
        lanes = [_words(reader.take(4 * length)) for length in lengths]
    else:
        lanes = [_words(reader.take(reader.left))]
    if reader.left:
        raise Error("a tile's payload is damaged: it is longer than its lanes")
    return Payload(0 if flags & _CODES_GROUP_0 else 1, escapes, lanes)


def _words(lane: bytes) -> NDArray[np.uint32]:
    """A lane's words."""
    if len(lane) % 4:
        raise Error("a tile's payload is damaged: its length is wrong")
    words = np.frombuffer(lane, "<u4").astype(np.uint32)
    if len(words) and words[-1] == 0:
        raise Error("a tile's payload is damaged: it ends with a zero word")
    return words


class TileDecoder:
    """Decodes one tile step by step, because the scale indices follow from what was decoded before: `hyper`, then
    `latent` for each pass, then `finish`."""

    def __init__(self, tables: Tables, level: int, payload: Payload) -> None:
        self.tables, self.level = tables, level
        self.first, self.escapes = payload.first, Reader(payload.escapes)
        self.bits = 32 * sum(map(len, payload.lanes)) + STATE_BITS
        self.coders = [constriction.stream.stack.AnsCoder(words) for words in payload.lanes]

    def hyper(self, rows: int, columns: int) -> NDArray[np.int8]:
        """The hyper-latent z, (Z, rows, columns). Raises `Error` if it takes more bits than the payload has."""
        models = self.tables.hyper_models[self.level]
        shape = (len(models), rows, columns)
        in_order = np.empty(len(models) * rows * columns, dtype=np.int32)
        for lane, channel, places in _segments(_planes(shape), len(self.coders)):
            in_order[places] = self.coders[lane].decode(models[channel], places.stop - places.start)
        self.z = (in_order - self.tables.hyper.shape[-1] // 2).astype(np.int8).reshape(shape)
        if self._information() > 1.01 * self.bits:  # the coder is exact to 0.6 %
            raise Error(MISMATCH)
        return self.z

    def _information(self) -> float:
        """Bits that z takes by the tables. A decoder that ran out of words goes on with nonsense: that is noticed here,
        before anything large is computed from it."""
        counts = self.tables.hyper[self.level]  # (Z, 2R + 1)
        places = self.z.reshape(len(counts), -1).astype(np.int64) + counts.shape[-1] // 2
        return float((PRECISION - np.log2(np.take_along_axis(counts, places, axis=1))).sum())

    def latent(self, index: NDArray[np.uint8]) -> NDArray[np.int16]:
        """The latent residuals of a pass for its scale indices, same shape. Raises `Error` if escapes run out or give
        a symbol beyond -32767..32767; ValueError for an index beyond 0..63."""
        check_range("scale indices", index, 0, INDEX_MAX)
        order, begins = _groups(index.ravel(), self.first)
        in_order = np.empty(len(order), dtype=np.int32)
        for lane, group, places in _segments(begins, len(self.coders)):
            in_order[places] = self.coders[lane].decode(self.tables.latent_models[group], places.stop - places.start)
        width = np.repeat(self.tables.half_widths, np.diff(begins))
        in_order -= width
        self._read_escapes(in_order, width)
        symbols = np.zeros(index.size, dtype=np.int16)
        symbols[order] = in_order
        return symbols.reshape(index.shape)

    def _read_escapes(self, values: NDArray[np.int32], width: NDArray[np.int32]) -> None:
        """Put what escapes stand for in the place of those in `values`, whose tables reach to `width`."""
        try:
            for place in np.flatnonzero(values > width):
                over, negative = divmod(self.escapes.varint(2 * SYMBOL_MAX), 2)
                magnitude = int(width[place]) + 1 + over
                if magnitude > SYMBOL_MAX:
                    raise Error(MISMATCH)
                values[place] = -magnitude if negative else magnitude
        except Error:
            raise Error(MISMATCH) from None  # wrong symbols asked for more escapes than there are, or for other ones

    def finish(self, symbols: NDArray[np.int16], crc: int) -> None:
        """Raise `Error` unless the payload is used up and `crc` is that of z and of all symbols, (M, h, w)."""
        if (
            self.escapes.left
            or not all(coder.is_empty() for coder in self.coders)
            or symbols_crc(self.z, symbols) != crc
        ):
            raise Error(MISMATCH)


def encode_values(tables: Tables, values: NDArray[np.int16], index: NDArray[np.uint8]) -> bytes:
    """Encode integers -32767..32767 by the tables of their scale indices, 0..63, as a tile without hyper-latent. Raises
    ValueError for numbers out of range and arrays of different shapes, TypeError for numbers that are no integers."""
    nothing = np.zeros((tables.hyper.shape[1], 0, 0), np.int8)
    return encode_tile(tables, 0, nothing, [(values, index)])


def decode_values(tables: Tables, index: NDArray[np.uint8], payload: bytes) -> NDArray[np.int16]:
    """The integers that `encode_values` coded at these scale indices, same shape. Raises `Error` if the payload is
    damaged, as far as that shows: it has no checksum of its own."""
    parts = read_payload(payload)
    if len(parts.lanes) > 1:
        raise Error("lanes are for tiles")
    decoder = TileDecoder(tables, 0, parts)
    nothing = decoder.hyper(0, 0)
    values = decoder.latent(index)
    decoder.finish(values, symbols_crc(nothing, values))
    return values


def entropy_bits(
    tables: Tables, level: int, z: NDArray[np.int8], symbols: NDArray[np.int16], index: NDArray[np.uint8]
) -> float:
    """Bits that the tables assign to a tile's symbols, escapes counted at eight bits per byte."""
    reach, bits = tables.hyper.shape[-1] // 2, 0.0
    for channel, table in enumerate(tables.hyper[level]):
        bits += PRECISION * z[channel].size - np.log2(table[z[channel].astype(int) + reach]).sum()
    flat, flat_index = symbols.ravel().astype(int), index.ravel()
    for group, table in enumerate(tables.latent):
        values, width = flat[flat_index == group], half_width(table)
        if group or values.any():
            outside = np.abs(values) > width
            bits += PRECISION * values.size - np.log2(table[np.where(outside, 2 * width + 1, values + width)]).sum()
            bits += sum(8 * len(write_varint(2 * int(abs(v) - width - 1))) for v in values[outside])
    return float(bits)
