"""The second decoder's way from symbols to pixels, by docs/FORMAT.md alone: NumPy in float64, no lapic module."""

import numpy as np

from tests.reference import decode_filter, decode_tile, filtered, qualities, read_file

Weights = dict[str, np.ndarray]


def level(table: np.ndarray, quality: int | np.ndarray) -> np.ndarray:
    """Section 1, "Rate levels", without rounding: (C,), or (C, h, w) at the qualities of places."""
    if np.ndim(quality) == 2:
        rows = {q: level(table, int(q)) for q in np.unique(quality)}
        return np.moveaxis(np.array([[rows[q] for q in row] for row in quality]), 2, 0)
    p = (quality - 256) * (len(table) - 1)
    i = min(p // 25344, len(table) - 2)
    f = p - 25344 * i
    return (table[i].astype(np.float64) * (25344 - f) + table[i + 1].astype(np.float64) * f) / 25344


def shuffle(x: np.ndarray, n: int) -> np.ndarray:
    c, h, w = x.shape[0] // n**2, x.shape[1], x.shape[2]
    return x.reshape(c, n, n, h, w).transpose(0, 3, 1, 4, 2).reshape(c, n * h, n * w)


def unshuffle(x: np.ndarray, n: int) -> np.ndarray:
    c, h, w = x.shape[0], x.shape[1] // n, x.shape[2] // n
    return x.reshape(c, h, n, w, n).transpose(0, 2, 4, 1, 3).reshape(c * n**2, h, w)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


class Network:
    """The layers of section 7, by the names of their tensors."""

    def __init__(self, weights: Weights) -> None:
        self.w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}

    def point(self, x: np.ndarray, name: str) -> np.ndarray:
        out = np.tensordot(self.w[f"{name}.weight"][:, :, 0, 0], x, 1)
        bias = self.w.get(f"{name}.bias")
        return out if bias is None else out + bias[:, None, None]

    def depth(self, x: np.ndarray, name: str) -> np.ndarray:
        h, w = x.shape[1:]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        taps = self.w[f"{name}.weight"][:, 0]
        parts = [taps[:, i, j, None, None] * padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
        return sum(parts) + self.w[f"{name}.bias"][:, None, None]

    def blocks(self, x: np.ndarray, name: str) -> np.ndarray:
        number = 0
        while f"{name}.{number}.mix.weight" in self.w:
            block = f"{name}.{number}"
            x = x + self.point(self.depth(silu(self.point(x, f"{block}.mix")), f"{block}.filter"), f"{block}.join")
            x = x + self.point(silu(self.point(x, f"{block}.widen")), f"{block}.narrow")
            number += 1
        return x

    @staticmethod
    def modulate(x: np.ndarray, row: np.ndarray) -> np.ndarray:
        rows = row if row.ndim == 3 else row[:, None, None]
        times = x.shape[1] // rows.shape[1] if row.ndim == 3 else 1
        a, b = np.split(rows.repeat(times, 1).repeat(times, 2), 2)
        return x * (1 + a) + b


def bands_of(x: np.ndarray, levels: int) -> list[np.ndarray]:
    parts = np.split(x, np.cumsum([3 * 4**n for n in range(levels)]))
    return [shuffle(part, 2**n) for n, part in enumerate(parts)]


def expand(x: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        width = [(1, 1) if at == axis else (0, 0) for at in range(3)]
        before, here, after = (
            np.pad(x, width, mode="edge").take(np.arange(x.shape[axis]) + shift, axis) for shift in (0, 1, 2)
        )
        pairs = np.stack([(before + 6 * here + after) / 8, (here + after) / 2], axis + 1)
        x = pairs.reshape([size * (2 if at == axis else 1) for at, size in enumerate(x.shape)])
    return x


def reduce(x: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        width = [(2, 2) if at == axis else (0, 0) for at in range(3)]
        padded = np.pad(x, width, mode="edge")
        every_second = 2 * np.arange(x.shape[axis] // 2)
        x = sum(tap * padded.take(every_second + at, axis) for at, tap in enumerate([1, 4, 6, 4, 1])) / 16
    return x


def collapse(bands: list[np.ndarray]) -> np.ndarray:
    picture = bands[0]
    for band in bands[1:]:
        picture = expand(picture) + band
    return picture


def floats(tensors: Weights) -> Weights:
    """Section 6: the tensors of the synthesis by their names, bytes times their scales."""
    found, prefix = {}, "transforms.synthesis."
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            scale = tensors.get(name.replace("transforms.", "scales."), np.ones(len(tensor)))
            found[name.removeprefix(prefix)] = (tensor.T * scale.astype(np.float64)).T
    return found


def synthesis(
    latent: np.ndarray, quality: int | np.ndarray, tensors: Weights, scale: int
) -> tuple[np.ndarray, np.ndarray]:
    """The picture (3, 16h / scale, 16w / scale) of latents (M, h, w) and of one quality or (h, w), and the last
    features."""
    net = Network(floats(tensors))
    if "pairs.0.widen.weight" in net.w:
        return second_synthesis(net, latent, quality, scale)
    base = shuffle(net.point(latent, "linear"), 2)
    linear = shuffle(base, 8)
    x = net.modulate(net.point(latent, "enter"), level(net.w["enter_level.table"], quality))
    x = net.blocks(x, "coarse")
    x = shuffle(net.point(x, "up"), 2) + net.point(base, "see")
    x = net.blocks(net.modulate(x, level(net.w["up_level.table"], quality)), "fine")
    bands = bands_of(net.point(x, "leave"), 3)
    if "quarter.up.weight" in net.w:
        q = shuffle(net.point(x, "quarter.up"), 2) + net.point(unshuffle(linear, 4), "quarter.see")
        q = net.blocks(net.modulate(q, level(net.w["quarter.level.table"], quality)), "quarter.blocks")
        more = bands_of(net.point(q, "quarter.leave"), 2)
        bands[1:] = [band + addition for band, addition in zip(bands[1:], more, strict=True)]
    halvings = {1: 0, 2: 1, 4: 2, 8: 3}[scale]
    for _ in range(halvings):
        linear = reduce(linear)
    return collapse(bands[: 4 - halvings]) + linear, x


def cells(x: np.ndarray) -> np.ndarray:
    c, h, w = x.shape[0] // 16, x.shape[1], x.shape[2]
    return x.reshape(4, 4, c, h, w).transpose(2, 3, 0, 4, 1).reshape(c, 4 * h, 4 * w)


def second_synthesis(
    net: Network, latent: np.ndarray, quality: int | np.ndarray, scale: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same by the networks of the second generation."""
    x = net.point(latent, "enter")
    for number in range(2):
        x = net.modulate(x, level(net.w[f"body_levels.{number}.table"], quality))
        inner = net.point(net.depth(x, f"body.{number}.filter"), f"body.{number}.widen")
        x = x + net.point(silu(inner), f"body.{number}.narrow")
    linear = cells(net.point(latent, "linear"))
    r = cells(net.point(x, "up")) + net.point(linear, "see")
    conditions = np.split(net.point(x, "condition").repeat(4, 1).repeat(4, 2), 6)
    for number in range(2):
        scales, shifts, gates = conditions[3 * number : 3 * number + 3]
        inner = net.point(r * (1 + np.tanh(scales)) + shifts, f"pairs.{number}.widen")
        r = r + net.point(silu(inner), f"pairs.{number}.narrow") * (1 + np.tanh(gates))
    picture = cells(linear + net.point(r, "leave"))
    for _ in range({1: 0, 2: 1, 4: 2, 8: 3}[scale]):
        picture = reduce(picture)
    return picture, x


def filtered_small(picture: np.ndarray, coefficients: np.ndarray, n: int) -> np.ndarray:
    """Section 8 for a picture at a fraction of its size."""
    opponent = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    picture = picture.clip(-1, 1)
    p = np.einsum("oc,chw->ohw", opponent, picture)
    features = np.concatenate([p / 8, np.full((1, *p.shape[1:]), 1 / 64)])
    added = 2 ** (-n / 2) * np.einsum("of,fhw->ohw", coefficients[:, [0, 25, 50, 75]], features)
    return picture + np.einsum("oc,ohw->chw", opponent, added)


def realistic(picture: np.ndarray, features: np.ndarray, quality: int, realism: float, weights: Weights) -> np.ndarray:
    """Section 9."""
    net = Network(weights)
    at = level(np.eye(8), min(quality, 80 * 256))
    rows = np.concatenate([at, realism * at])

    def stage(x: np.ndarray, name: str) -> np.ndarray:
        return net.blocks(net.modulate(x, rows @ net.w[f"{name}.task.table"]), f"{name}.blocks")

    x = stage(net.point(unshuffle(picture, 4), "enter"), "there.0")
    seen = net.point(features, "see")
    seen = shuffle(seen, 2) if len(seen) > len(net.w["down.0.weight"]) else seen
    y = stage(net.point(unshuffle(x, 2), "down.0") + seen, "there.1")
    change = net.point(stage(x + shuffle(net.point(y, "up.0"), 2), "back.0"), "leave")
    masks, residuals = bands_of(change[:63], 2), bands_of(change[63:], 2)
    half = reduce(picture)
    quarter = reduce(half)
    pyramid = [quarter, half - expand(quarter), picture - expand(half)]
    t = strength(quality, realism)
    parts = zip(pyramid, masks, residuals, strict=True)
    return collapse([band + t * (band * mask + residual) for band, mask, residual in parts])


def strength(quality: int, realism: float) -> float:
    return realism * min(max((100 - quality / 256) / 20, 0), 1)


def decode(
    data: bytes, tensors: Weights, scale: int = 1, realism: float = 0, realism_weights: Weights | None = None
) -> np.ndarray:
    """A file's pixels, (h, w, 3) or (h, w), uint8, by the tensors of its model's weights file. Raises `Invalid`."""
    file = read_file(data)
    rows, columns = -(-file.height // 16), -(-file.width // 16)
    edge = file.tile // 16 or max(rows, columns)
    corners = [(top, left) for top in range(0, rows, edge) for left in range(0, columns, edge)]
    latent = np.empty((len(tensors["integers.point4.weight"]) // 2, rows, columns))
    each = qualities(file)
    for (top, left), payload, crc in zip(corners, file.payloads, file.crcs, strict=True):
        h, w = min(edge, rows - top), min(edge, columns - left)
        here = each[top : top + h, left : left + w]
        _, s, k, m = decode_tile(payload, h, w, file.quality, tensors, crc, here)
        shift = np.abs(tensors["centroid"].astype(np.float64)[k, np.minimum(np.abs(s), 3)])
        latent[:, top : top + h, left : left + w] = m / 32 + s - np.sign(s) * shift
    latent /= np.exp(level(tensors["transforms.log_gain"], each))
    t = strength(file.quality, realism)
    made_at = 1 if t else scale
    picture, features = synthesis(latent, each, tensors, made_at)
    if b"filt" in file.chunks:
        coefficients, n = decode_filter(file.chunks[b"filt"], tensors)
        near = filtered(picture, coefficients, n) if made_at == 1 else filtered_small(picture, coefficients, n)
        picture = near + t * (picture - near)
    if t:
        assert realism_weights is not None
        picture = realistic(picture, features, file.quality, realism, realism_weights)
        for _ in range({1: 0, 2: 1, 4: 2, 8: 3}[scale]):
            picture = reduce(picture)
    if file.grey:
        picture = picture.mean(0, keepdims=True)
    picture = picture[:, : -(-file.height // scale), : -(-file.width // scale)]
    shown = np.rint(127.5 * (picture + 1)).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    if file.grey and file.chunks.get(b"mode") == b"\1":
        return np.repeat(shown, 3, axis=2)
    return shown[:, :, 0] if file.grey else shown
