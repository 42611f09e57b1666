"""A decoder and an encoder from docs/WEB.md: a pack, ONNX Runtime, NumPy and lapic's entropy coder, without PyTorch.

The container and the entropy coder are `lapic.bitstream`, which knows no networks; tests/reference.py is a second one.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from lapic.bitstream import (
    Header,
    PixelFormat,
    Tables,
    Tile,
    TileDecoder,
    decode_values,
    encode_tile,
    read,
    read_payload,
    symbols_crc,
    write,
)
from lapic.bitstream.container import QUALITY_MAP
from lapic.bitstream.quality_map import read_map

CodePass = Callable[[slice, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Pack:
    """A folder that `lapic-train onnx` wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest = folder, json.loads((folder / "pack.json").read_text())
        self.sizes, self.sessions = self.manifest["sizes"], {}
        body = (folder / "tables.bin").read_bytes()
        self.arrays = {
            name: np.frombuffer(body, place["dtype"], int(np.prod(place["shape"])), place["offset"]).reshape(
                place["shape"]
            )
            for name, place in self.manifest["arrays"].items()
        }
        latent = np.split(self.arrays["tables.latent"], np.cumsum(self.arrays["tables.lengths"])[:-1])
        self.tables = Tables(self.arrays["tables.hyper"], latent)

    def run(self, graph: str, **inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs of a graph."""
        if graph not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            path = self.folder / f"{graph}.onnx"
            self.sessions[graph] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return self.sessions[graph].run(None, inputs)

    def row(self, name: str, quality: int) -> np.ndarray:
        """A table's row at a quality field, float64 (FORMAT.md, section 1)."""
        return level_weights(len(self.arrays[name]), quality) @ self.arrays[name].astype(np.float64)

    def rounded_row(self, name: str, quality: int) -> np.ndarray:
        """The same for an exact layer, rounded."""
        table = self.arrays[name].astype(np.int64)
        p = (quality - 256) * (len(table) - 1)
        i = min(p // 25344, len(table) - 2)
        f = p - 25344 * i
        return (2 * (table[i] * (25344 - f) + table[i + 1] * f) + 25344) // 50688

    def bias(self, name: str, qualities: np.ndarray) -> np.ndarray:
        """Rows of an exact layer, (1, C, h, w), at the qualities (h, w) of places, or at one for all, (1, 1)."""
        return at_places(partial(self.rounded_row, name), qualities)

    def modulation(self, name: str, qualities: np.ndarray) -> np.ndarray:
        """The same for the input of a modulation, each place as often as that has it."""
        rows = at_places(partial(self.row, name), qualities)
        times = self.manifest["spread"][name] if qualities.size > 1 else 1
        return rows.repeat(times, 2).repeat(times, 3)

    def gain(self, qualities: np.ndarray) -> np.ndarray:
        """Quantisation steps for a unit of each channel, (M, h, w) or (M, 1, 1)."""
        return at_places(lambda quality: np.exp(self.row("log_gain", quality)), qualities)[0]

    def tile_level(self, quality: int) -> int:
        """The rate level of z's tables."""
        return (2 * (quality - 256) * (self.sizes["L"] - 1) + 25344) // 50688

    def look_up(self, name: str, index: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
        """A (64, 4) table at scale indices and magnitudes."""
        return self.arrays[name][index, np.minimum(magnitude, 3).astype(np.int64)]

    def code_latents(
        self, z: np.ndarray, h: int, w: int, qualities: np.ndarray, code_pass: CodePass
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means, scale indices and symbols, (M, h, w), of a tile. `code_pass` is called for each pass with its
        channels, the places (h, w) that it codes, means and scale indices, and returns symbols that are 0 elsewhere."""
        low, latent = self.sizes["C"], self.sizes["M"]
        enter, leave = self.bias("level.enter", coarser(qualities)), self.bias("level.leave", qualities)
        size = np.array([h, w], np.int32)
        z = z.astype(np.float32)[None]
        whole = np.ones((h, w), bool)
        if not low:
            _, mean, index = self.run("hyper", z=z, enter=enter, leave=leave, size=size)
            return mean[0], index[0], code_pass(slice(0, latent), whole, mean[0], index[0])
        lows, highs = slice(0, low), slice(low, latent)
        means, indices = np.split(leave, 2, axis=1)
        leave = np.concatenate([means[:, lows], indices[:, lows]], axis=1)
        x, sums, mean, index = self.run("hyper", z=z, enter=enter, leave=leave, size=size)
        white = np.indices((h, w)).sum(0) % 2 == 0
        symbols = code_pass(lows, white, mean[0], index[0])
        known = symbols.astype(np.float32)[None]
        odd_mean, odd_index = self.run("context-odd", symbols=known, x=x, sums=sums)
        symbols = symbols + code_pass(lows, ~white, odd_mean[0], odd_index[0])
        known = symbols.astype(np.float32)[None]
        leave = np.concatenate([means[:, highs], indices[:, highs]], axis=1)
        rest_mean, rest_index = self.run("context-rest", symbols=known, x=x, leave=leave)
        rest = code_pass(highs, whole, rest_mean[0], rest_index[0])
        mean, index = np.where(white, mean[0], odd_mean[0]), np.where(white, index[0], odd_index[0])
        return (
            np.concatenate([mean, rest_mean[0]]),
            np.concatenate([index, rest_index[0]]),
            np.concatenate([symbols, rest]),
        )


def level_weights(levels: int, quality: int) -> np.ndarray:
    """The weights of a table's rows at a quality field, (levels,) float64."""
    p = (quality - 256) * (levels - 1)
    i = min(p // 25344, levels - 2)
    f = (p - 25344 * i) / 25344
    weights = np.zeros(levels)
    weights[i : i + 2] = 1 - f, f
    return weights


def at_places(row: Callable[[int], np.ndarray], qualities: np.ndarray) -> np.ndarray:
    """Rows (C,) of qualities (h, w), as (1, C, h, w) float32."""
    known, number = np.unique(qualities, return_inverse=True)
    rows = np.stack([row(int(quality)) for quality in known]).astype(np.float32)
    return rows[number.reshape(qualities.shape)].transpose(2, 0, 1)[None]


def qualities_of(header: Header) -> np.ndarray:
    """Quality fields of the picture's places, or one for all, (1, 1)."""
    return read_map(header) if QUALITY_MAP in header.chunks else np.array([[round(256 * header.quality)]])


def part_of(qualities: np.ndarray, top: int, left: int, h: int, w: int) -> np.ndarray:
    """Those of a rectangle of places."""
    return qualities if qualities.size == 1 else qualities[top : top + h, left : left + w]


def coarser(qualities: np.ndarray) -> np.ndarray:
    """Those of the hyper-latents: means of 4 x 4 places, rounded down."""
    edges = [range(0, size, 4) for size in qualities.shape]
    return np.array([[int(qualities[y : y + 4, x : x + 4].mean()) for x in edges[1]] for y in edges[0]])


def cut(header: Header) -> Iterator[tuple[int, int, int, int]]:
    """Top, left, height and width of each tile in latents."""
    rows, columns = -(-header.height // 16), -(-header.width // 16)
    edge = header.tile // 16 or max(rows, columns)
    for top in range(0, rows, edge):
        for left in range(0, columns, edge):
            yield top, left, min(edge, rows - top), min(edge, columns - left)


def decode_tile(
    pack: Pack, tile: Tile, h: int, w: int, level: int, qualities: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, symbols and gained latents y^ of a tile. Raises `Error` if its checksum does not match."""
    decoder = TileDecoder(pack.tables, level, read_payload(tile.payload))
    z = decoder.hyper(-(-h // 4), -(-w // 4))

    def code_pass(channels: slice, places: np.ndarray, mean: np.ndarray, index: np.ndarray) -> np.ndarray:
        symbols = np.zeros(index.shape, np.int16)
        symbols[:, places] = decoder.latent(index[:, places])
        return symbols

    mean, index, symbols = pack.code_latents(z, h, w, qualities, code_pass)
    decoder.finish(symbols, tile.crc)
    shift = np.abs(pack.look_up("centroid", index, np.abs(symbols)))
    return z, symbols, mean / np.float32(32) + symbols - np.sign(symbols) * shift


def filter_of(pack: Pack, body: bytes, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """A filter's kernel (3, 3, 5, 5), with the picture itself, and its constant (3,)."""
    coefficients = decode_values(pack.tables, pack.arrays["filter.scale"], body[1:]) * 2 ** (-body[0] / 2)
    opponent, taps = pack.arrays["filter.opponent"], pack.arrays["filter.taps"]
    kernel = np.einsum("or,of,fcij->rcij", opponent, coefficients[:, :75], taps)
    if scale > 1:
        flat, kernel = kernel.sum((2, 3)), np.zeros_like(kernel)
        kernel[:, :, 2, 2] = flat
    kernel[:, :, 2, 2] += np.eye(3)
    return kernel.astype(np.float32), (opponent.T @ coefficients[:, 75] / 64).astype(np.float32)


def finish(
    pack: Pack, picture: np.ndarray, features: np.ndarray, header: Header, scale: int, realism: float
) -> np.ndarray:
    """The filter of the file, and the realistic decoder."""
    quality = round(256 * header.quality)
    strength = np.float32(realism * min(max((100 - header.quality) / 20, 0), 1))
    if b"filt" in header.chunks:
        kernel, constant = filter_of(pack, header.chunks[b"filt"], scale)
        filtered = pack.run("filter", picture=picture, kernel=kernel, constant=constant)[0]
        picture = filtered + strength * (picture - filtered)
    if not strength:
        return picture
    weights = level_weights(pack.sizes["L"], min(quality, 80 * 256))
    weights = np.concatenate([weights, realism * weights])
    rows = {
        name: (weights @ pack.arrays[f"realism.{name.replace('_', '.')}"]).astype(np.float32)[None, :, None, None]
        for name in ("there_0", "there_1", "back_0")
    }
    return pack.run("realism", picture=picture, features=features, strength=np.array([strength]), **rows)[0]


def decode(pack: Pack, data: bytes, scale: int = 1, realism: float = 0) -> tuple[np.ndarray, list]:
    """Pixels as `lapic.decode` gives them, at `scale` 1 or 8, and z and symbols of each tile."""
    header, tiles = read(data)
    assert header.model.hex() == pack.manifest["model"]
    level, qualities = pack.tile_level(round(256 * header.quality)), qualities_of(header)
    y = np.empty((1, pack.sizes["M"], -(-header.height // 16), -(-header.width // 16)), np.float32)
    decoded = []
    for tile, (top, left, h, w) in zip(tiles, cut(header), strict=True):
        here = part_of(qualities, top, left, h, w)
        z, symbols, latent = decode_tile(pack, tile, h, w, level, here)
        y[0, :, top : top + h, left : left + w] = latent / pack.gain(here)
        decoded.append((z, symbols))
    rows = {name: pack.modulation(name, qualities) for name in ("enter_level", "up_level")}
    base, features = pack.run("features", y=y, **rows)
    if scale == 8:
        (picture,) = pack.run("synthesis-8", base=base, features=features)
    else:
        row = {"quarter_level": pack.modulation("quarter_level", qualities)} if pack.sizes["D"] else {}
        (picture,) = pack.run("synthesis", base=base, features=features, **row)
    picture = finish(pack, picture, features, header, scale, realism)[0]
    picture = picture[:, : -(-header.height // scale), : -(-header.width // scale)]
    if header.pixel_format == PixelFormat.GREY:
        picture = picture.mean(0, keepdims=True)
    shown = np.rint(127.5 * (picture + 1)).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    shown = np.repeat(shown, header.channels // shown.shape[2], axis=2)
    return (shown if header.channels == 3 else shown[:, :, 0]), decoded


def quantise(pack: Pack, residual: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Symbols for residuals, float32."""
    magnitude = np.abs(residual)
    nearest = np.rint(magnitude)
    limit = nearest - np.float32(0.5) + pack.look_up("threshold", index, nearest)
    symbol = np.clip(nearest - (magnitude < limit), 0, 32767)
    symbol[(index == 0) & (symbol <= 2)] = 0
    return np.copysign(symbol, residual).astype(np.int16)


def encode(pack: Pack, pixels: np.ndarray, quality: float, tile: int = 1024) -> bytes:
    """A file without a search, from pixels (H, W, 3) or (H, W)."""
    kind = PixelFormat.RGB if pixels.ndim == 3 else PixelFormat.GREY
    header = Header(pixels.shape[1], pixels.shape[0], kind, quality, bytes.fromhex(pack.manifest["model"]), tile, {})
    level, low = pack.tile_level(round(256 * quality)), pack.sizes["C"]
    qualities = qualities_of(header)
    planes = np.broadcast_to(pixels.reshape(*pixels.shape[:2], -1), (*pixels.shape[:2], 3)).transpose(2, 0, 1)
    padded = np.pad(planes, [(0, 0), (0, -header.height % 16), (0, -header.width % 16)], mode="edge")
    (y,) = pack.run("analysis", picture=padded[None].astype(np.float32) / np.float32(127.5) - np.float32(1))
    gained = y[0] * pack.gain(qualities)
    tiles = []
    for top, left, h, w in cut(header):
        part = gained[:, top : top + h, left : left + w]
        around = np.pad(part, [(0, 0), (0, -h % 4), (0, -w % 4)], mode="edge")
        z = pack.run("hyper-analysis", gained=around[None])[0][0].astype(np.int8)

        def code_pass(
            channels: slice, places: np.ndarray, mean: np.ndarray, index: np.ndarray, part: np.ndarray = part
        ) -> np.ndarray:
            return quantise(pack, part[channels] - mean / np.float32(32), index) * places

        _, index, symbols = pack.code_latents(z, h, w, qualities, code_pass)
        white = np.indices((h, w)).sum(0) % 2 == 0
        parts = [(slice(0, low), white), (slice(0, low), ~white)] if low else []
        parts.append((slice(low, None), np.ones((h, w), bool)))
        passes = [(symbols[channels][:, places], index[channels][:, places]) for channels, places in parts]
        payload = encode_tile(pack.tables, level, z, passes)
        tiles.append(Tile(payload, symbols_crc(z, symbols)))
    return write(header, tiles)
