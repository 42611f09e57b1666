"""The fit of a picture's filter: least squares, rounded by rate and distortion."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lapic.bitstream import encode_values
from lapic.bitstream.container import FILTER
from lapic.codec.decode.picture_filter import FEATURES, FINEST, OPPONENT, REACH, SCALE, TAPS, UNITS, scale_index
from lapic.codec.encode.draft import Draft, Region
from lapic.codec.encode.rate import error_weight, symbol_bits
from lapic.codec.model.codec_weights import Model
from lapic.codec.nets import levels
from lapic.codec.threads import threads_for

FINENESSES = range(8, FINEST + 1)  # that are tried: step sizes are 2^(-fineness / 2) of a feature's unit
SAMPLES = 2**16  # pixels that are enough to fit a filter to
OVERHEAD = 14  # bytes: type and length of the chunk, step, flags and the final state of the coder
DAMPING = 0.5  # bits for a coefficient of one step, growing with its square: a rough rate before rounding
ROUNDS = 2  # of coordinate descent, each over all features


@dataclass
class Statistics:
    """The normal equations of a filter, as float64 sums over pixels.

    Attributes:
        gram: (FEATURES, FEATURES), sums of products of features.
        cross: (FEATURES, 3), sums of products of features and errors in opponent colours.
    """

    gram: Tensor
    cross: Tensor

    def __add__(self, other: "Statistics") -> "Statistics":
        """The statistics of two parts of a picture together."""
        return Statistics(self.gram + other.gram, self.cross + other.cross)


def stride_for(pixels: int) -> int:
    """The distance of the rows and columns that are sampled of a picture: an odd number, so that the samples take all
    places within the blocks of the transform."""
    return 2 * int((pixels / SAMPLES) ** 0.5 / 2) + 1


def statistics(decoded: Tensor, picture: Tensor, stride: int, weights: Tensor | None = None) -> Statistics:
    """The statistics of a decoded picture and the original, both (1, 3, H, W) in -1..1. Every `stride`th row and column
    is sampled, and the sums are scaled to stand for all pixels. `weights` (1, 1, H, W) say how much each counts."""
    decoded = decoded.clamp(-1, 1)
    features = F.conv2d(F.pad(decoded, (REACH,) * 4, mode="replicate"), TAPS.to(decoded), stride=stride).flatten(2)[0]
    features = torch.cat([features, torch.ones_like(features[:1])])  # (FEATURES, N)
    error = OPPONENT.to(decoded) @ (picture - decoded)[0, :, ::stride, ::stride].flatten(1)  # (3, N)
    gram = torch.zeros(FEATURES, FEATURES, dtype=torch.float64, device=decoded.device)
    cross = torch.zeros(FEATURES, 3, dtype=torch.float64, device=decoded.device)
    if weights is not None:
        root = weights[0, :, ::stride, ::stride].flatten(1).sqrt()  # (1, N)
        features, error = features * root, error * root
    for x, y in zip(features.split(2**14, dim=1), error.split(2**14, dim=1), strict=True):
        gram += (x @ x.T).double()  # longer sums would lose small differences in float32
        cross += (x @ y.T).double()
    return Statistics(stride**2 * gram.cpu(), stride**2 * cross.cpu())


def fit(
    found: Statistics, weight: float, bits: NDArray[np.float64], index: NDArray[np.uint8]
) -> tuple[NDArray[np.int16], int, float]:
    """Fit a filter for each of FINENESSES and choose the best. Equations are solved and matrices multiplied by torch:
    NumPy's threads would keep a core busy for a while after each such call.

    Args:
        weight: bits that a unit of square error is worth, in -1..1.
        bits: (64, N), the cost of magnitudes at each scale index.
        index: (3, FEATURES), scale indices of the coefficients.

    Returns:
        Its coefficients (3, FEATURES), its fineness, and the bits that it saves: those that the error which it removes
        is worth, less those of the coefficients.
    """
    gram, cross = found.gram.numpy(), found.cross.numpy().T  # (F, F), (3, F)
    steps = UNITS.numpy() * 2 ** (-np.array(FINENESSES)[:, None] / 2)  # (T, F), a row for each fineness
    limit = bits.shape[1] - 1
    solution = _damped_solution(found, torch.from_numpy(steps), weight).numpy()  # (T, 3, F)
    numbers = np.rint(solution / steps[:, None]).clip(-limit, limit)
    rounded = torch.from_numpy(numbers * steps[:, None])
    left = cross - (rounded @ found.gram).numpy()  # the part of `cross` that they do not account for, (T, 3, F)
    _descend(numbers, left, gram, steps, weight, bits, index)
    saved = weight * ((cross + left) * numbers * steps[:, None]).sum((1, 2))  # 2 x'c - c'Gc for cross x, coefficients c
    saved -= bits[index, np.abs(numbers).astype(int)].sum((1, 2))
    best = int(saved.argmax())
    return numbers[best].astype(np.int16), FINENESSES[best], float(saved[best])


def _damped_solution(found: Statistics, steps: Tensor, weight: float) -> Tensor:
    """Real coefficients (T, 3, F) of least squares, with DAMPING for the rate of rounding to `steps` (T, F)."""
    damping = torch.diag_embed(DAMPING / (weight * steps**2) + 1e-9 * found.gram.diagonal())  # (T, F, F)
    return torch.linalg.solve(found.gram + damping, found.cross).mT


def _descend(
    numbers: NDArray[np.float64],
    left: NDArray[np.float64],
    gram: NDArray[np.float64],
    steps: NDArray[np.float64],
    weight: float,
    bits: NDArray[np.float64],
    index: NDArray[np.uint8],
) -> None:
    """Improve rounded coefficients `numbers` (T, 3, F), and with them `left` (T, 3, F), in place, by coordinate
    descent: each feature's coefficients in turn become, of 0 and the two integers around the optimum, those of least
    distortion plus bits."""
    limit = bits.shape[1] - 1
    for feature in np.tile(np.arange(FEATURES), ROUNDS):
        step, energy = steps[:, None, feature], gram[feature, feature]
        before = numbers[..., feature].copy()  # (T, 3)
        optimum = before + left[..., feature] / (energy * step) if energy > 0 else 0 * before
        best_cost = np.full(before.shape, np.inf)
        for candidate in (0 * optimum, np.floor(optimum), np.ceil(optimum)):
            candidate = candidate.clip(-limit, limit)
            rate = bits[index[:, feature], np.abs(candidate).astype(int)]
            cost = weight * energy * (step * (candidate - optimum)) ** 2 + rate
            numbers[..., feature] = np.where(cost < best_cost, candidate, numbers[..., feature])
            best_cost = np.minimum(cost, best_cost)
        change = (numbers[..., feature] - before) * step  # (T, 3)
        left -= change[..., None] * gram[feature]


def chunk(model: Model, quality: Tensor, found: Statistics) -> dict[bytes, bytes]:
    """The chunk with the best filter for a picture; none where the model has no filters or none saves bits.

    Args:
        quality: fixed-point, (1,) or of each place (1, h, w). found: what `observe` gives for the whole picture.
    """
    if SCALE not in model.integers:
        return {}
    bits = symbol_bits(model.tables).double().numpy()
    index = scale_index(model)
    with threads_for(1):  # with more it may add in another order
        coefficients, fineness, gain = fit(found, error_weight(quality).min().item(), bits, index)
    if gain <= 8 * OVERHEAD:
        return {}
    return {FILTER: bytes([fineness]) + encode_values(model.tables, coefficients, index)}


@torch.no_grad()
def observe(region: Region, decoded: Tensor, draft: Draft) -> Statistics:
    """The statistics of a piece of a draft, `decoded` (1, 3, 16h, 16w) in about -1..1, pixels weighted by what their
    errors are worth, 1 where that is least in the draft."""
    stride, weights = stride_for(draft.shape[0] * draft.shape[1]), None
    rows, columns = region.inside()
    if region.quality.ndim > 1:
        relative = error_weight(region.quality)[:, None] / error_weight(draft.quality).min()
        weights = levels.spread_to(relative, decoded.shape[2:])[..., rows, columns]
    return statistics(decoded[..., rows, columns], region.picture[..., rows, columns], stride, weights)
