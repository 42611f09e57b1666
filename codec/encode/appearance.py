"""The error that the search lowers with `--tune eye`: square error, mixed with SSIMULACRA2's terms as weighted squares.

SSIMULACRA2 (Sneyers, Cloudinary, 2022) sums means and fourth-power norms of maps over XYB at several scales. Near a
draft each map is a square of the local error with a weight that follows from the draft, as in iteratively reweighted
least squares. With e the error, m its local mean and h = e - m:

- the loss of structural similarity is var(e) / V + m^2, V being the sum of both pictures' variances and a constant;
- added or lost edges are |h| / (1 + a), a being the contrast of the original: the square over twice the draft's value.

The weight of a map's value at a pixel is the derivative of its mean and its norm there. The sum has the same gradient
as the score's, but for what the signs of edges and the made picture's own variance contribute.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from lapic.codec.encode import xyb
from lapic.codec.nets import second
from lapic.codec.nets.network import Synthesis
from lapic.codec.picture.tensors import to_levels
from lapic.codec.picture.tiling import LATENT

Parts = list[tuple[Tensor, Tensor]]  # of an error at each scale, (B, C, H/2^s, W/2^s) each: fine and flat
SCALES = len(xyb.CHANNELS)
GREYS = torch.arange(256, dtype=torch.float32, device="cpu")
WINDOW, SMOOTH = 5, 9  # pixels: of local means, and of the local energy of edges
STRUCTURE_RATE = 9.0  # square error (0..255 units) that one of the score's sum is exchanged for, at every quality
SQUARES, STRUCTURE = 0.54, 0.39  # weights of square error and of the sum so exchanged
CONVEX = (
    1.5  # factor of the curvature of the score's terms: a fourth power bends more than the square that stands for it
)


@dataclass(frozen=True)
class Jacobian:
    """The derivative of XYB by sRGB in -1..1 at each pixel: FROM_ROOTS diag(root) ABSORBANCE diag(light).

    Attributes:
        light: (B, 3, H, W), derivative of linear light by sRGB.
        root: (B, 3, H, W), derivative of the cube roots.
    """

    light: Tensor
    root: Tensor

    @classmethod
    def at(cls, levels: Tensor, linear: Tensor) -> "Jacobian":
        """The derivative at a picture of grey levels 0..255, (B, 3, H, W) int32, which is `linear` in linear light."""
        value = GREYS / 255
        curved = 2.4 / 1.055 * ((value + 0.055) / 1.055) ** 1.4
        light = torch.where(value > xyb.KNEE, curved, torch.full_like(value, 1 / 12.92)) / 2
        root = xyb.absorbed(linear).clamp(min=xyb.DARKEST) ** (-2 / 3) / 3
        return cls(_look_up(light, levels), root)

    @classmethod
    def at_grey(cls, device: torch.device) -> "Jacobian":
        """The derivative at middle grey, in shape (1, 3, 1, 1)."""
        grey = torch.full((1, 3, 1, 1), 128, dtype=torch.int32, device=device)
        return cls.at(grey, _linear(grey))

    def forward(self, error: Tensor) -> Tensor:
        """An error (B, 3, H, W) of sRGB -> of XYB."""
        return xyb.mixed(xyb.mixed(self.light * error, xyb.ABSORBANCE) * self.root, xyb.FROM_ROOTS)

    def back(self, slope: Tensor) -> Tensor:
        """A derivative (B, 3, H, W) by XYB -> by sRGB."""
        roots = xyb.mixed(slope, xyb.FROM_ROOTS, transposed=True) * self.root
        return xyb.mixed(roots, xyb.ABSORBANCE, transposed=True) * self.light

    def strength(self) -> Tensor:
        """The square of its size, (B, 1, H, W), relative to that of middle grey."""
        grey = Jacobian.at_grey(self.light.device)
        size = self.light.mean(1, keepdim=True) * self.root.mean(1, keepdim=True)
        return (size / (grey.light.mean() * grey.root.mean())).square()


@dataclass(frozen=True)
class Appearance:
    """A weighted square error for pictures (B, 3, H, W), H and W multiples of 16.

    Attributes:
        jacobian: at the original.
        fine: at each scale, (B, C, H/2^s, W/2^s) for the channels `xyb.CHANNELS`: the weights of squares of what
            differs from the local mean in XYB.
        flat: the same of squares of local means.
    """

    jacobian: Jacobian
    fine: list[Tensor]
    flat: list[Tensor]

    @classmethod
    def near(cls, picture: Tensor, draft: Tensor) -> "Appearance":
        """The measure of errors on a picture, near a draft of it; both (B, 3, H, W) in -1..1."""
        pixels = picture.shape[2] * picture.shape[3]
        unit = STRUCTURE * STRUCTURE_RATE * pixels * 3 / 127.5**2  # of the sum, in square errors of -1..1
        weights = picture.new_tensor(xyb.WEIGHTS).reshape(3, xyb.SCALES, 2, 3)
        levels, draft_levels = (to_levels(x).to(torch.int32) for x in (picture, draft))
        linear, draft_linear = _linear(levels), _linear(draft_levels)
        fine, flat = [], []
        for scale, (light, draft_light) in enumerate(zip(_halved(linear), _halved(draft_linear), strict=True)):
            channels = xyb.CHANNELS[scale]
            seen, drafted = (xyb.to_xyb(one, channels) for one in (light, draft_light))  # (B, C, h, w)
            parts = _weights(seen, drafted, weights[channels, scale])
            fine.append(unit * parts[0])
            flat.append(unit * parts[1])
        return cls(Jacobian.at(levels, linear), fine, flat)

    def split(self, error: Tensor) -> Parts:
        """What differs from the local mean, and that mean, of an error (B, 3, H, W) in XYB at each scale."""
        whole = _halved(self.jacobian.forward(error))
        seen = [part[:, channels] for part, channels in zip(whole, xyb.CHANNELS, strict=True)]  # (B, C, h, w)
        means = [(part, blurred(part)) for part in seen]
        return [(part - low, low) for part, low in means]

    def cost(self, error: Tensor, parts: Parts) -> Tensor:
        """The weighted square error (B, 3, H, W) of the pixels of each latent, (B, 1, H/16, W/16); `parts` as `split`
        gives them."""
        total = SQUARES * block_sums(error.square().sum(1, keepdim=True), LATENT)
        for scale, (high, low) in enumerate(parts):
            weighted = (self.fine[scale] * high.square() + self.flat[scale] * low.square()).sum(1, keepdim=True)
            total = total + block_sums(weighted, LATENT >> scale)
        return total

    def slope(self, error: Tensor, parts: Parts) -> Tensor:
        """Half of the derivative of the sum of `cost` by the picture, (B, 3, H, W); `parts` as `split` gives them."""
        total = torch.zeros_like(parts[-1][0])  # all channels count at the coarsest scale
        for scale, (high, low) in reversed(list(enumerate(parts))):
            weighted = self.fine[scale] * high
            total = F.interpolate(total / 4, high.shape[2:], mode="nearest")  # (B, 3, h, w)
            total[:, xyb.CHANNELS[scale]] += weighted + blurred(self.flat[scale] * low - weighted)
        return SQUARES * error + self.jacobian.back(total)

    def curvature(self, synthesis: Synthesis | second.Synthesis) -> Tensor:
        """The second derivative by each latent, (B, M, H/16, W/16), relative to that of the plain square error.

        It is computed for the linear path alone, from the energy that a latent's pattern on middle grey has at each
        scale and channel; that of the score's terms is CONVEX times as large."""
        patterns = synthesis.patterns()  # (M, 3, 16, 16)
        energy = patterns.square().sum((1, 2, 3))
        parts = _halved(Jacobian.at_grey(patterns.device).forward(patterns))
        total: Tensor | float = 0.0
        for scale, (part, strength) in enumerate(zip(parts, _halved(self.jacobian.strength()), strict=True)):
            around = F.pad(part[:, xyb.CHANNELS[scale]], (WINDOW // 2,) * 4)
            low = blurred(around)
            for weight, seen in ((self.fine[scale], around - low), (self.flat[scale], low)):
                share = seen.square().sum((2, 3)) / energy[:, None]  # (M, C)
                local = F.avg_pool2d(weight * strength, LATENT >> scale)  # (B, C, H/16, W/16)
                total = total + F.conv2d(local, share[:, :, None, None])
        return SQUARES + CONVEX * total


def _weights(original: Tensor, draft: Tensor, terms: Tensor) -> tuple[Tensor, Tensor]:
    """The weights of fine and flat errors at one scale, (B, C, h, w) each, for channels of pictures in XYB.

    Args:
        terms: (C, 2, 3), the score's weights by channel, norm and map.
    """
    pixels = original.shape[2] * original.shape[3]
    by_mean, by_norm = terms[:, 0, :, None, None], terms[:, 1, :, None, None]  # (C, 3, 1, 1)
    mean, draft_mean = local_mean(original), local_mean(draft)
    variances = _variance(original, mean) + _variance(draft, draft_mean) + xyb.C2
    error, contrast = draft - original, (original - mean).abs()
    error_mean = local_mean(error)
    dissimilar = _variance(error, error_mean) / variances + error_mean.square()
    flat = (by_mean[:, 0] + by_norm[:, 0] * (dissimilar / _norm(dissimilar)) ** 3) / pixels
    fine = blurred(flat / variances)
    edges = (1 + (draft - draft_mean).abs()) / (1 + contrast) - 1
    for number, edge in ((1, edges.clamp(min=0)), (2, (-edges).clamp(min=0))):
        energy = local_mean(edge.square(), SMOOTH)
        fine = fine + by_norm[:, number] * energy / (2 * pixels * _norm(edge) ** 3 * (1 + contrast).square())
    return fine, flat


def _linear(levels: Tensor) -> Tensor:
    """Grey levels 0..255 -> linear light in 0..1."""
    return _look_up(xyb.to_linear(GREYS / 127.5 - 1), levels)


def _look_up(table: Tensor, levels: Tensor) -> Tensor:
    """The entry of a table (256,) for each level, in a fifth of the time of a power."""
    return table.to(levels.device).index_select(0, levels.flatten()).reshape(levels.shape)


def _halved(x: Tensor) -> list[Tensor]:
    """A picture (B, C, H, W), H and W multiples of 16, at 1/1, 1/2, 1/4 ... of its size, by averages. Sums of rows and
    then of columns take a seventh of the time of `avg_pool2d` on a CPU."""

    def half(x: Tensor) -> Tensor:
        rows = x[:, :, 0::2] + x[:, :, 1::2]
        return (rows[..., 0::2] + rows[..., 1::2]).div_(4)

    return list(accumulate(range(SCALES - 1), lambda larger, _: half(larger), initial=x))


def block_sums(x: Tensor, edge: int) -> Tensor:
    """The sums of squares of `edge` x `edge` pixels: (B, C, H, W) -> (B, C, H / edge, W / edge)."""
    return x.unflatten(2, (-1, edge)).sum(3).unflatten(3, (-1, edge)).sum(4)


def local_mean(x: Tensor, window: int = WINDOW) -> Tensor:
    """Local means of those pixels that lie in the picture."""
    rows, columns = (_sums(x.new_ones(size), 0, window) for size in x.shape[2:])
    return _sums(_sums(x, 2, window), 3, window).div_(rows[:, None] * columns)


def blurred(x: Tensor) -> Tensor:
    """Local means with zeros around the picture: a symmetric operator."""
    return _sums(_sums(x, 2, WINDOW), 3, WINDOW).div_(WINDOW**2)


def _sums(x: Tensor, axis: int, window: int) -> Tensor:
    """Sums of a window of 2^k + 1 neighbours along an axis, with zeros around: pairs, pairs of pairs and so on, and one
    more. Takes a tenth of the time of `avg_pool2d` on a CPU."""
    size = x.shape[axis]
    padded = F.pad(x, (0, 0) * (x.ndim - 1 - axis) + (window // 2,) * 2)
    sums, reach = padded, 1
    while 2 * reach < window:
        length = sums.shape[axis] - reach
        sums = sums.narrow(axis, 0, length) + sums.narrow(axis, reach, length)
        reach *= 2
    return sums.narrow(axis, 1, size) + padded.narrow(axis, 0, size)


def _variance(x: Tensor, mean: Tensor) -> Tensor:
    """The local variance of a picture with local means `mean`."""
    return (local_mean(x.square()) - mean.square()).clamp(min=0)


def _norm(x: Tensor) -> Tensor:
    """The fourth-power norm of maps, (B, C, 1, 1)."""
    return (x.square().square().mean((2, 3), keepdim=True) + 1e-16) ** 0.25
