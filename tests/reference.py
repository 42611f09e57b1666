"""A second decoder, written from docs/FORMAT.md alone: plain Python and NumPy integers, no lapic module."""

import zlib
from dataclasses import dataclass

import numpy as np


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        assert self.at + count <= len(self.data)
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value


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


def read_file(data: bytes) -> File:
    """Section 1."""
    source = Bytes(data)
    assert source.take(8) == bytes.fromhex("8C4C41500D0A1A0A")
    assert source.number(1) == 0
    model, flags, quality = source.take(4), source.number(1), source.number(2)
    width, height = source.varint(), source.varint()
    chunks = {}
    for _ in range(source.varint() if flags & 4 else 0):
        kind, body = source.take(4), source.take(source.varint())
        if kind in (b"iccp", b"exif", b"xmpd"):
            chunks[kind] = zlib.decompress(body)
        elif kind in (b"alph", b"filt", b"mode"):
            chunks[kind] = body
        else:
            assert not kind[:1].isupper()  # critical and unknown
    tile = 0 if flags >> 4 == 15 else 64 << (flags >> 4)
    count = -(-height // tile) * -(-width // tile) if tile else 1
    table = [(source.varint(), source.number(4)) for _ in range(count)]
    assert zlib.crc32(data[8 : source.at]) == source.number(4)
    payloads = [source.take(length) for length, _ in table]
    assert source.at == len(data)
    return File(model, bool(flags & 3), tile, quality, width, height, chunks, payloads, [crc for _, crc in table])


class Ans:
    """Section 3, "Entropy coder"."""

    def __init__(self, words: bytes) -> None:
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
    """Section 4."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.w = {name: tensor.astype(np.int64) for name, tensor in weights.items()}

    @property
    def low(self) -> int:
        return self.w["odd.enter.weight"].shape[1] if "odd.enter.weight" in self.w else 0

    @staticmethod
    def level(table: np.ndarray, quality: int) -> np.ndarray:
        p = (quality - 256) * (len(table) - 1)
        i = min(p // 25344, len(table) - 2)
        f = p - 25344 * i
        return (2 * (table[i] * (25344 - f) + table[i + 1] * f) + 25344) // (2 * 25344)

    @staticmethod
    def act(x: np.ndarray) -> np.ndarray:
        return np.clip((x + 64) >> 7, 0, 2047)

    def point(self, x: np.ndarray, name: str, bias: np.ndarray) -> np.ndarray:
        return np.einsum("dc,chw->dhw", self.w[f"{name}.weight"], x) + bias[:, None, None]

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

    def hyper_synthesis(self, z: np.ndarray, quality: int) -> np.ndarray:
        """Features x for z (Z, h4, w4)."""
        w, act, shuffle = self.w, self.act, self.shuffle
        x = act(self.point(32 * z.astype(np.int64), "point0", self.level(w["level.enter"], quality)))
        x = act(self.depth(x, "depth0"))
        x = shuffle(act(self.point(x, "point1", w["point1.bias"])))
        x = act(self.depth(x, "depth1"))
        x = shuffle(act(self.point(x, "point2", w["point2.bias"])))
        x = act(self.depth(x, "depth2"))
        return act(self.point(x, "point3", w["point3.bias"]))

    def sums(self, x: np.ndarray, quality: int) -> np.ndarray:
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
    """Section 3: flags, escapes, lanes and words."""

    def __init__(self, payload: bytes, tensors: dict[str, np.ndarray]) -> None:
        source = Bytes(payload)
        flags = source.number(1)
        self.escapes = Bytes(source.take(source.varint()) if flags & 2 else b"")
        lengths = [source.varint() for _ in range(source.varint())] if flags & 4 else [(len(payload) - source.at) // 4]
        assert len(lengths) <= 65536
        self.lanes = [Ans(source.take(4 * length)) for length in lengths]
        assert source.at == len(payload)
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
            value = min(width + 1 + v // 2, 32767) * (-1 if v % 2 else 1)
        return value

    def finish(self) -> None:
        assert all(ans.state == 0 and not ans.words for ans in self.lanes)
        assert self.escapes.at == len(self.escapes.data)


def decode_tile(payload: bytes, h: int, w: int, quality: int, tensors: dict[str, np.ndarray]) -> tuple:
    """Section 3: z, symbols and scale indices of a tile of h x w places."""
    source = Payload(payload, tensors)
    h4, w4 = -(-h // 4), -(-w // 4)
    levels = tensors["tables.hyper"]
    level = (2 * (quality - 256) * (len(levels) - 1) + 25344) // 50688
    source.begin_pass(levels.shape[1] * h4 * w4)
    z = np.array([[source.decode(counts) - 63 for _ in range(h4 * w4)] for counts in levels[level]])
    z = z.reshape(-1, h4, w4)
    integers = {name[9:]: tensor for name, tensor in tensors.items() if name.startswith("integers.")}
    exact = Integers(integers)
    x = exact.hyper_synthesis(z, quality)[:, :h, :w]
    u = exact.sums(x, quality)
    index = exact.parameters(u)[1]
    symbols = np.zeros(index.shape, np.int64)

    def decode_pass(coded: np.ndarray) -> None:
        """The symbols at the latents that are true in `coded` (M, h, w)."""
        places = np.argwhere(coded)
        source.begin_pass(np.isin(index[coded], source.groups).sum())
        for k in source.groups:
            for c, i, j in places[index[coded] == k]:
                symbols[c, i, j] = source.symbol(k)

    low, m = exact.low, len(index)
    channel, row, column = np.ogrid[:m, :h, :w]
    if low:
        white = np.broadcast_to((row + column) % 2 == 0, index.shape)
        decode_pass(white & (channel < low))
        odd = np.concatenate([u[:low], u[m : m + low]]) + exact.context("odd", symbols[:low], x)
        index[:low] = np.where(white[:low], index[:low], exact.parameters(odd)[1])
        decode_pass(~white & (channel < low))
        rest = np.concatenate([u[low:m], u[m + low :]]) + exact.context("rest", symbols[:low], x)
        index[low:] = exact.parameters(rest)[1]
    decode_pass(np.broadcast_to(channel >= low, index.shape))
    source.finish()
    return z, symbols, index


def decode_filter(body: bytes, tensors: dict[str, np.ndarray]) -> tuple[np.ndarray, int]:
    """Section 7: coefficients (3, 76) and n."""
    source = Payload(body[1:], tensors)
    index = tensors["integers.filter.scale"]
    coefficients = np.zeros(index.shape, np.int64)
    source.begin_pass(np.isin(index, source.groups).sum())
    for k in source.groups:
        for place in np.argwhere(index == k):
            coefficients[tuple(place)] = source.symbol(k)
    source.finish()
    return coefficients, body[0]


def filtered(picture: np.ndarray, coefficients: np.ndarray, n: int) -> np.ndarray:
    """Section 7: a picture (3, h, w)."""
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
