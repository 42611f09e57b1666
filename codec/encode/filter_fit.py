"""The fit of a picture's filter: least squares, rounded by rate and distortion."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lapic.bitstream import encode_values
from lapic.bitstream.container import FILTER
from lapic.codec.decode.picture_filter import FEATURES, FINEST, OPPONENT, PAIRS, REACH, SCALE, TAPS, UNITS, scale_index
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
LEAST_DETAIL = 0.9  # of the finest detail of light, that a filter for the eye leaves
PENALTIES = (0.0, *(2.0**n for n in range(-3, 6)), 1e6)  # of smoothing, tried in turn until that is left
SMOOTHING = torch.arange(FEATURES - 1, device="cpu").reshape(3, -1)[:, 1::2]  # the features of each colour that smooth
LAPLACIAN = OPPONENT[:1, :, None, None] * torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]], device="cpu")


def _detail() -> Tensor:
    """The weights (FEATURES,) by which the features of light make the Laplacian of its Laplacian."""
    stencil = {(0, 1): -8, (1, 0): -8, (1, 1): 2, (0, 2): 1, (2, 0): 1}  # by the distance in rows and columns
    weights = torch.zeros(FEATURES, dtype=torch.float64, device="cpu")
    for feature, (row, column) in zip(SMOOTHING[0], PAIRS, strict=True):
        weights[feature] = stencil.get((abs(row), abs(column)), 0)
    return weights


DETAIL = _detail()


@dataclass
class Statistics:
    """The normal equations of a filter, as float64 sums over pixels.

    Attributes:
        gram: (FEATURES, FEATURES), sums of products of features.
        cross: (FEATURES, 3), sums of products of features and errors in opponent colours.
        detail: (2,), sums of squares of the Laplacian of light, of the decoded picture and of the original.
    """

    gram: Tensor
    cross: Tensor
    detail: Tensor

    def __add__(self, other: "Statistics") -> "Statistics":
        """The statistics of two parts of a picture together."""
        return Statistics(self.gram + other.gram, self.cross + other.cross, self.detail + other.detail)

    def detail_wanted(self) -> float:
        """The share of the decoded picture's finest detail that a filter for the eye leaves at least: LEAST_DETAIL, or
        less where the original has less."""
        decoded, original = self.detail.sqrt().tolist()
        return min(LEAST_DETAIL, original / decoded) if decoded > 0 else 0.0

    def detail_left(self, coefficients: NDArray[np.int16], fineness: int) -> float:
        """The share of the finest detail of light, weighted by the square of a Laplacian, that a filter leaves: 1 as it
        was, more if the filter sharpens."""
        of_features = DETAIL @ self.gram  # (FEATURES,), what each feature has of it
        if of_features[0] <= 0:
            return 1.0
        real = torch.from_numpy(coefficients[0].astype(np.float64)) * UNITS * 2 ** (-fineness / 2)
        return 1 + float(real @ of_features / of_features[0])


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
    light = F.pad(torch.cat([decoded, picture]), (1,) * 4, mode="replicate")
    detail = F.conv2d(light, LAPLACIAN.to(decoded), stride=stride).flatten(1)  # (2, N)
    error = OPPONENT.to(decoded) @ (picture - decoded)[0, :, ::stride, ::stride].flatten(1)  # (3, N)
    gram = torch.zeros(FEATURES, FEATURES, dtype=torch.float64, device=decoded.device)
    cross = torch.zeros(FEATURES, 3, dtype=torch.float64, device=decoded.device)
    if weights is not None:
        root = weights[0, :, ::stride, ::stride].flatten(1).sqrt()  # (1, N)
        features, error, detail = features * root, error * root, detail * root
    for x, y in zip(features.split(2**14, dim=1), error.split(2**14, dim=1), strict=True):
        gram += (x @ x.T).double()  # longer sums would lose small differences in float32
        cross += (x @ y.T).double()
    squares = detail.square().sum(1, dtype=torch.float64)
    return Statistics(*(stride**2 * sums.cpu() for sums in (gram, cross, squares)))


def fit(
    found: Statistics,
    weight: float,
    bits: NDArray[np.float64],
    index: NDArray[np.uint8],
    keep_detail: bool = False,
) -> tuple[NDArray[np.int16], int, float]:
    """Fit a filter for each of FINENESSES and choose the best. Equations are solved and matrices multiplied by torch:
    NumPy's threads would keep a core busy for a while after each such call.

    Args:
        weight: bits that a unit of square error is worth, in -1..1.
        bits: (64, N), the cost of magnitudes at each scale index.
        index: (3, FEATURES), scale indices of the coefficients.
        keep_detail: smooth so little that so much of the finest detail is left as `detail_wanted` says.

    Returns:
        Its coefficients (3, FEATURES), its fineness, and the bits that it saves: those that the error which it removes
        is worth, less those of the coefficients, and less what `penalised` adds.
    """
    wanted = found.detail_wanted() if keep_detail else -math.inf
    for penalty in PENALTIES:
        coefficients, fineness, saved = _fit(penalised(found.gram, penalty), found.cross, weight, bits, index)
        if found.detail_left(coefficients, fineness) >= wanted:
            break
    return coefficients, fineness, saved


def penalised(gram: Tensor, penalty: float) -> Tensor:
    """The products of features (3, FEATURES, FEATURES) for each colour that is made, with the energy that smoothing
    moves in light counted 1 + `penalty` times."""
    grams, smoothing = gram.expand(3, -1, -1).clone(), SMOOTHING.flatten()
    grams[0, smoothing[:, None], smoothing] *= 1 + penalty
    return grams


def _fit(
    grams: Tensor, cross: Tensor, weight: float, bits: NDArray[np.float64], index: NDArray[np.uint8]
) -> tuple[NDArray[np.int16], int, float]:
    """As `fit`, with products of features (3, FEATURES, FEATURES) for each colour, and with errors (FEATURES, 3)."""
    steps = UNITS * 2 ** (-torch.tensor(FINENESSES, dtype=torch.float64)[:, None] / 2)  # (T, F), of each fineness
    limit = bits.shape[1] - 1
    solution = _damped_solution(grams, cross, steps, weight)  # (T, 3, F)
    rounded = (solution / steps[:, None]).round().clamp(-limit, limit)
    left = cross.mT - torch.einsum("trf,rfg->trg", rounded * steps[:, None], grams)  # what they do not account for
    numbers, unexplained, stepped = rounded.numpy(), left.numpy(), steps.numpy()
    _descend(numbers, unexplained, grams.numpy(), stepped, weight, bits, index)
    # The error that coefficients c remove is 2 x'c - c'Gc, for products x with errors.
    saved = weight * ((cross.numpy().T + unexplained) * numbers * stepped[:, None]).sum((1, 2))
    saved -= bits[index, np.abs(numbers).astype(int)].sum((1, 2))
    best = int(saved.argmax())
    return numbers[best].astype(np.int16), FINENESSES[best], float(saved[best])


def _damped_solution(grams: Tensor, cross: Tensor, steps: Tensor, weight: float) -> Tensor:
    """Real coefficients (T, 3, F) of least squares, with DAMPING for the rate of rounding to `steps` (T, F)."""
    damping = torch.diag_embed(DAMPING / (weight * steps**2) + 1e-9 * grams[-1].diagonal())  # (T, F, F)
    return torch.linalg.solve(grams + damping[:, None], cross.mT[..., None])[..., 0]


def _descend(
    numbers: NDArray[np.float64],
    left: NDArray[np.float64],
    grams: NDArray[np.float64],
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
        step, energy = steps[:, None, feature], grams[:, feature, feature]  # (T, 1), (3,)
        before = numbers[..., feature].copy()  # (T, 3)
        optimum = before + left[..., feature] / (np.where(energy > 0, energy, np.inf) * step)
        best_cost = np.full(before.shape, np.inf)
        for candidate in (0 * optimum, np.floor(optimum), np.ceil(optimum)):
            candidate = candidate.clip(-limit, limit)
            rate = bits[index[:, feature], np.abs(candidate).astype(int)]
            cost = weight * energy * (step * (candidate - optimum)) ** 2 + rate
            numbers[..., feature] = np.where(cost < best_cost, candidate, numbers[..., feature])
            best_cost = np.minimum(cost, best_cost)
        change = (numbers[..., feature] - before) * step  # (T, 3)
        left -= change[..., None] * grams[:, feature]


def chunk(model: Model, quality: Tensor, found: Statistics, tune: str) -> dict[bytes, bytes]:
    """The chunk with the best filter for a picture; none where the model has no filters or none saves bits.

    Args:
        quality: fixed-point, (1,) or of each place (1, h, w). found: what `observe` gives for the whole picture.
        tune: as for `codec.encode.search`; a filter for the eye does not smooth fine detail away.
    """
    if SCALE not in model.integers:
        return {}
    bits = symbol_bits(model.tables).double().numpy()
    index = scale_index(model)
    with threads_for(1):  # with more it may add in another order
        weight = error_weight(quality).min().item()
        coefficients, fineness, gain = fit(found, weight, bits, index, keep_detail=tune == "eye")
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
