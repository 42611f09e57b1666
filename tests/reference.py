"""A second decoder, written from docs/FORMAT.md alone: plain Python and NumPy integers, no lapic module.

From bytes to symbols here; from symbols to pixels in `tests.reference_pixels`.
"""

import hashlib
import zlib
from collections import Counter
from dataclasses import dataclass

import numpy as np


class Invalid(Exception):
    """What FORMAT.md calls an error."""


def require(condition: bool, rule: str) -> None:
    if not condition:
        raise Invalid(rule)


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        require(self.at + count <= len(self.data), "the data end early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def varint(self, largest: int = 2**32 - 1) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 127) << shift
            require(value <= largest and shift < 64, "the number is too large")
            if byte < 128:
                require(byte > 0 or shift == 0, "the number is not in its shortest form")
                return value
            shift += 7


@dataclass
class File:
    model: bytes
    grey: bool
    tile: int
    quality: int
    width: int
    height: int
    chunks: dict[bytes, bytes]
    payloads: list[bytes]
    crcs: list[int]


def qualities(file: File) -> np.ndarray:
    """Section 3, "Quality map": Q of each place."""
    shape = -(-file.height // 16), -(-file.width // 16)
    d = np.frombuffer(file.chunks.get(b"QMAP", bytes(shape[0] * shape[1])), np.int8).reshape(shape)
    return np.clip(file.quality + 256 * d.astype(np.int64), 256, 25600)


def of_hyper_latents(places: np.ndarray) -> np.ndarray:
    """Section 3: Q of each hyper-latent of a tile from Q of its places."""
    rows, columns = (range(0, edge, 4) for edge in places.shape)
    squares = [[places[i : i + 4, j : j + 4] for j in columns] for i in rows]
    return np.array([[square.sum() // square.size for square in row] for row in squares])


def inflate(body: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(body, 2**24 + 1)
    except zlib.error:
        raise Invalid("the zlib stream is damaged") from None
    require(len(content) <= 2**24, "the chunk is too large")
    require(inflater.eof and not inflater.unused_data, "the zlib stream does not end with the chunk")
    return content


def read_chunks(source: Bytes) -> dict[bytes, bytes]:
    """Section 2, "Chunks"."""
    entries = []
    for _ in range(source.varint(1024)):
        kind = source.take(4)
        entries.append((kind, source.take(source.varint())))
    require(max(Counter(kind for kind, _ in entries).values(), default=0) <= 1, "a chunk occurs twice")
    chunks = {}
    for kind, body in entries:
        if kind in (b"iccp", b"exif", b"xmpd", b"QMAP"):
            chunks[kind] = inflate(body)
        elif kind in (b"alph", b"filt", b"mode"):
            chunks[kind] = body
        else:
            require(not 65 <= kind[0] <= 90, "a chunk is critical and unknown")
    return chunks


def read_file(data: bytes) -> File:
    """Section 2."""
    source = Bytes(data)
    require(source.take(8) == bytes.fromhex("8C4C41500D0A1A0A"), "the signature is wrong")
    require(source.number(1) == 0, "the version is unknown")
    model, flags, quality = source.take(4), source.number(1), source.number(2)
    width, height = source.varint(2**24), source.varint(2**24)
    require(flags & 2 == 0 and flags & 8 == 0, "the flags are unknown")
    require(256 <= quality <= 25600 and width >= 1 and height >= 1, "a number is out of range")
    tile = 0 if flags >> 4 == 15 else 64 << (flags >> 4)
    tile_places = -(-min(tile or width, width) // 16) * -(-min(tile or height, height) // 16)
    require(tile_places <= 2**16, "a tile is too large")
    chunks = read_chunks(source) if flags & 4 else {}
    places = -(-width // 16) * -(-height // 16)
    require(len(chunks.get(b"QMAP", bytes(places))) == places, "the quality map does not fit")
    count = -(-height // tile) * -(-width // tile) if tile else 1
    require(5 * count <= len(data) - source.at, "the data end early")
    table = [(source.varint(), source.number(4)) for _ in range(count)]
    require(zlib.crc32(data[8 : source.at]) == source.number(4), "the checksum is wrong")
    payloads = [source.take(length) for length, _ in table]
    require(source.at == len(data), "bytes follow the payloads")
    return File(model, bool(flags & 1), tile, quality, width, height, chunks, payloads, [crc for _, crc in table])


def model_id(tensors: dict[str, np.ndarray]) -> bytes:
    """Section 6, "Model id"."""
    digest = hashlib.sha256()
    for name in sorted(name for name in tensors if name.startswith("integers.")):
        digest.update(name.removeprefix("integers.").encode() + tensors[name].astype("<i4").tobytes())
    for name in ("tables.hyper", "tables.latent"):
        digest.update(tensors[name].astype("<i4").tobytes())
    return digest.digest()[:4]


class Ans:
    """Section 4, "Entropy coder"."""

    def __init__(self, words: bytes) -> None:
        require(len(words) % 4 == 0 and (not words or any(words[-4:])), "the words are no coder's")
        self.words = [int.from_bytes(words[i : i + 4], "little") for i in range(0, len(words), 4)]
        self.state = self.words.pop() if self.words else 0
        if self.words:
            self.state = self.state << 32 | self.words.pop()

    def decode(self, counts: np.ndarray) -> int:
        ends = np.cumsum(counts, dtype=np.int64)
        assert ends[-1] == 2**24
        q = self.state % 2**24
        symbol = int(np.searchsorted(ends, q, side="right"))
        begin = int(ends[symbol]) - int(counts[symbol])
        self.state = (self.state >> 24) * int(counts[symbol]) + q - begin
        if self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()
        return symbol


def encode_ans(symbols: list[tuple[int, np.ndarray]]) -> bytes:
    """The inverse of decoding (symbol, counts) pairs in this order."""
    state, words = 0, []
    for symbol, counts in reversed(symbols):
        count, begin = int(counts[symbol]), int(counts[:symbol].sum())
        if state >> 40 >= count:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        state = (state // count) << 24 | (begin + state % count)
    while state:
        words.append(state & 0xFFFFFFFF)
        state >>= 32
    return b"".join(word.to_bytes(4, "little") for word in words)


class Integers:
    """Section 5."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.w = {name: tensor.astype(np.int64) for name, tensor in weights.items()}

    @property
    def low(self) -> int:
        return self.w["odd.enter.weight"].shape[1] if "odd.enter.weight" in self.w else 0

    @staticmethod
    def level(table: np.ndarray, quality: int | np.ndarray) -> np.ndarray:
        """Rows (C,) at one quality, (C, h, w) at those of places (h, w)."""
        if np.ndim(quality) == 2:
            rows = {q: Integers.level(table, int(q)) for q in np.unique(quality)}
            return np.moveaxis(np.array([[rows[q] for q in row] for row in quality]), 2, 0)
        p = (quality - 256) * (len(table) - 1)
        i = min(p // 25344, len(table) - 2)
        f = p - 25344 * i
        return (2 * (table[i] * (25344 - f) + table[i + 1] * f) + 25344) // (2 * 25344)

    @staticmethod
    def act(x: np.ndarray) -> np.ndarray:
        return np.clip((x + 64) >> 7, 0, 2047)

    def point(self, x: np.ndarray, name: str, bias: np.ndarray) -> np.ndarray:
        return np.einsum("dc,chw->dhw", self.w[f"{name}.weight"], x) + (bias if bias.ndim == 3 else bias[:, None, None])

    def depth(self, x: np.ndarray, name: str) -> np.ndarray:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        out = np.zeros_like(x) + self.w[f"{name}.bias"][:, None, None]
        for i in range(3):
            for j in range(3):
                tap = self.w[f"{name}.weight"][:, 3 * i + j, None, None]
                out += tap * padded[:, i : i + x.shape[1], j : j + x.shape[2]]
        return out

    @staticmethod
    def shuffle(x: np.ndarray) -> np.ndarray:
        c, h, width = x.shape[0] // 4, x.shape[1], x.shape[2]
        return x.reshape(c, 2, 2, h, width).transpose(0, 3, 1, 4, 2).reshape(c, 2 * h, 2 * width)

    def hyper_synthesis(self, z: np.ndarray, quality: int | np.ndarray) -> np.ndarray:
        """Features x for z (Z, h4, w4), of one quality or of (h4, w4)."""
        w, act, shuffle = self.w, self.act, self.shuffle
        x = act(self.point(32 * z.astype(np.int64), "point0", self.level(w["level.enter"], quality)))
        x = act(self.depth(x, "depth0"))
        x = shuffle(act(self.point(x, "point1", w["point1.bias"])))
        x = act(self.depth(x, "depth1"))
        x = shuffle(act(self.point(x, "point2", w["point2.bias"])))
        x = act(self.depth(x, "depth2"))
        return act(self.point(x, "point3", w["point3.bias"]))

    def sums(self, x: np.ndarray, quality: int | np.ndarray) -> np.ndarray:
        """Sums u from features."""
        return self.point(x, "point4", self.level(self.w["level.leave"], quality))

    @staticmethod
    def parameters(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, index = np.split(u, 2)
        return np.clip((mean + 64) >> 7, -16383, 16383), np.clip((index + 128) >> 8, 0, 63)

    def context(self, name: str, low_symbols: np.ndarray, x: np.ndarray) -> np.ndarray:
        c = self.act(self.point(8 * np.clip(low_symbols, -255, 255), f"{name}.enter", self.w[f"{name}.enter.bias"]))
        c = self.act(self.depth(c, f"{name}.filter"))
        c = self.act(self.point(np.concatenate([c, x]), f"{name}.mix", self.w[f"{name}.mix.bias"]))
        d = self.act(
            self.depth(self.act(self.point(c, f"{name}.widen", self.w[f"{name}.widen.bias"])), f"{name}.second")
        )
        c = self.act(128 * c + self.point(d, f"{name}.join", self.w[f"{name}.join.bias"]))
        return self.point(c, f"{name}.leave", np.zeros(1, np.int64))


class Payload:
    """Section 4: flags, escapes, lanes and words."""

    def __init__(self, payload: bytes, tensors: dict[str, np.ndarray], largest_flags: int = 7) -> None:
        source = Bytes(payload)
        flags = source.number(1)
        require(flags <= largest_flags, "the flags are unknown")
        self.escapes = Bytes(source.take(source.varint()) if flags & 2 else b"")
        if flags & 4:
            count = source.varint(65536)
            require(count >= 2, "there are too few lanes")
            parts = [source.take(4 * length) for length in [source.varint() for _ in range(count)]]
        else:
            parts = [source.take(len(payload) - source.at)]
        require(source.at == len(payload), "bytes follow the lanes")
        self.lanes = [Ans(words) for words in parts]
        self.bits = 8 * sum(map(len, parts))
        self.tables = np.split(tensors["tables.latent"], np.cumsum(tensors["tables.lengths"])[:-1])
        self.groups = range(0 if flags & 1 else 1, 64)

    def begin_pass(self, count: int) -> None:
        """The lane of each symbol to come in a pass of `count`."""
        numbers = range(len(self.lanes))
        shares = [(lane + 1) * count // len(numbers) - lane * count // len(numbers) for lane in numbers]
        self.turns = iter([ans for ans, share in zip(self.lanes, shares, strict=True) for _ in range(share)])

    def decode(self, counts: np.ndarray) -> int:
        return next(self.turns).decode(counts)

    def symbol(self, k: int) -> int:
        width = len(self.tables[k]) // 2 - 1
        value = self.decode(self.tables[k]) - width
        if value == width + 1:
            v = self.escapes.varint()
            require(width + 1 + v // 2 <= 32767, "a symbol is too large")
            value = (width + 1 + v // 2) * (-1 if v % 2 else 1)
        return value

    def hyper(self, tables: np.ndarray, h4: int, w4: int) -> np.ndarray:
        """z, (Z, h4, w4), by one table for each channel."""
        self.begin_pass(len(tables) * h4 * w4)
        z = np.array([[self.decode(counts) - 63 for _ in range(h4 * w4)] for counts in tables])
        spent = sum(float(np.sum(24 - np.log2(counts[row + 63]))) for counts, row in zip(tables, z, strict=True))
        require(spent <= 1.01 * (self.bits + 64), "z takes more bits than there are")
        return z.reshape(-1, h4, w4)

    def latents(self, index: np.ndarray) -> np.ndarray:
        """The symbols of a pass, of the shape of their scale indices."""
        values = np.zeros(index.shape, np.int64)
        self.begin_pass(np.isin(index, self.groups).sum())
        for k in self.groups:
            for place in np.argwhere(index == k):
                values[tuple(place)] = self.symbol(k)
        return values

    def finish(self) -> None:
        require(all(ans.state == 0 and not ans.words for ans in self.lanes), "words are left")
        require(self.escapes.at == len(self.escapes.data), "escapes are left")


def check_crc(z: np.ndarray, symbols: np.ndarray, crc: int) -> None:
    found = zlib.crc32(z.astype("i1").tobytes() + symbols.astype("<i2").tobytes())
    require(found == crc, "the checksum is wrong")


def decode_tile(
    payload: bytes,
    h: int,
    w: int,
    quality: int,
    tensors: dict[str, np.ndarray],
    crc: int | None = None,
    places: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Section 4: z, symbols, scale indices and means of a tile of h x w places, of which each may have a quality of its
    own, checked against its CRC-32."""
    source = Payload(payload, tensors)
    h4, w4 = -(-h // 4), -(-w // 4)
    levels = tensors["tables.hyper"]
    level = (2 * (quality - 256) * (len(levels) - 1) + 25344) // 50688
    z = source.hyper(levels[level], h4, w4)
    integers = {name[9:]: tensor.astype(np.int64) for name, tensor in tensors.items() if name.startswith("integers.")}
    exact = Integers(integers)
    x = exact.hyper_synthesis(z, quality if places is None else of_hyper_latents(places))[:, :h, :w]
    u = exact.sums(x, quality if places is None else places)
    mean, index = exact.parameters(u)
    symbols = np.zeros(index.shape, np.int64)

    def decode_pass(coded: np.ndarray) -> None:
        """The symbols at the latents that are true in `coded` (M, h, w)."""
        symbols[coded] = source.latents(index[coded])

    low, m = exact.low, len(index)
    channel, row, column = np.ogrid[:m, :h, :w]
    if low:
        white = np.broadcast_to((row + column) % 2 == 0, index.shape)
        decode_pass(white & (channel < low))
        odd = np.concatenate([u[:low], u[m : m + low]]) + exact.context("odd", symbols[:low], x)
        odd_mean, odd_index = exact.parameters(odd)
        mean[:low], index[:low] = (
            np.where(white[:low], mean[:low], odd_mean),
            np.where(white[:low], index[:low], odd_index),
        )
        decode_pass(~white & (channel < low))
        rest = np.concatenate([u[low:m], u[m + low :]]) + exact.context("rest", symbols[:low], x)
        mean[low:], index[low:] = exact.parameters(rest)
    decode_pass(np.broadcast_to(channel >= low, index.shape))
    source.finish()
    if crc is not None:
        check_crc(z, symbols, crc)
    return z, symbols, index, mean


def decode_filter(body: bytes, tensors: dict[str, np.ndarray]) -> tuple[np.ndarray, int]:
    """Section 8: coefficients (3, 76) and n."""
    require(body[:1] != b"" and body[0] <= 24, "the filter's step is unknown")
    require("integers.filter.scale" in tensors, "the model has no filters")
    source = Payload(body[1:], tensors, largest_flags=3)
    coefficients = source.latents(tensors["integers.filter.scale"])
    source.finish()
    return coefficients, body[0]


def filtered(picture: np.ndarray, coefficients: np.ndarray, n: int) -> np.ndarray:
    """Section 8: a picture (3, h, w)."""
    opponent = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    picture = picture.clip(-1, 1)
    p = np.pad(np.einsum("oc,chw->ohw", opponent, picture), ((0, 0), (2, 2), (2, 2)), mode="edge")

    def at(i: int, j: int) -> np.ndarray:
        return p[:, 2 + i : 2 + i + picture.shape[1], 2 + j : 2 + j + picture.shape[2]]

    pairs = [(0, 1), (0, 2)] + [(i, j) for i in (1, 2) for j in (-2, -1, 0, 1, 2)]
    features = [at(0, 0) / 8]
    for i, j in pairs:
        features += [at(i, j) + at(-i, -j) - 2 * at(0, 0), at(i, j) - at(-i, -j)]
    of_colours = np.stack(features, axis=1).reshape(75, *picture.shape[1:])
    every = np.concatenate([of_colours, np.full((1, *picture.shape[1:]), 1 / 64)])
    added = 2 ** (-n / 2) * np.einsum("of,fhw->ohw", coefficients, every)
    return picture + np.einsum("oc,ohw->chw", opponent, added)
