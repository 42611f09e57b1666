"""The fit of a picture's filter: least squares, rounded by rate and distortion."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lapic.bitstream import encode_values
from lapic.bitstream.container import FILTER
from lapic.codec.decode.picture_filter import FEATURES, FINEST, OPPONENT, REACH, SCALE, TAPS, UNITS, _index
from lapic.codec.encode.draft import Draft, regions
from lapic.codec.encode.rate import error_weight, symbol_bits
from lapic.codec.model.codec_weights import Model
from lapic.codec.nets.network import assemble

TRIED = range(8, FINEST + 1)
SAMPLES = 2**16  # pixels that are enough to fit a filter to
OVERHEAD = 14  # bytes: type and length of the chunk, step, flags and the coder's last words
DAMPING = 0.5  # bits for a coefficient of one step, four times that for two ..., to set out from small ones
ROUNDS = 4  # in which the coefficients are rounded in turn


@dataclass
class Statistics:
    """Sums over pixels: of products of features, `gram` (FEATURES, FEATURES), and of features and errors in opponent
    colours, `wanted` (FEATURES, 3); float64."""

    gram: Tensor
    wanted: Tensor

    def __add__(self, other: "Statistics") -> "Statistics":
        """Those of two parts of a picture together."""
        return Statistics(self.gram + other.gram, self.wanted + other.wanted)


def stride_for(pixels: int) -> int:
    """Every how many rows and columns of a picture are looked at: an odd number, so that no place within the blocks of
    the transform is left out."""
    return 2 * int((pixels / SAMPLES) ** 0.5 / 2) + 1


def statistics(made: Tensor, picture: Tensor, stride: int) -> Statistics:
    """What there is to know of a decoded picture and the original, both (1, 3, H, W) in -1..1, to fit a filter. Sums
    stand for all pixels, though only those of every `stride`th row and column are looked at."""
    made = made.clamp(-1, 1)
    features = F.conv2d(F.pad(made, (REACH,) * 4, mode="replicate"), TAPS.to(made), stride=stride).flatten(2)[0]
    features = torch.cat([features, torch.ones_like(features[:1])])  # (FEATURES, N)
    error = OPPONENT.to(made) @ (picture - made)[0, :, ::stride, ::stride].flatten(1)  # (3, N)
    gram = torch.zeros(FEATURES, FEATURES, dtype=torch.float64, device=made.device)
    wanted = torch.zeros(FEATURES, 3, dtype=torch.float64, device=made.device)
    for some, missed in zip(features.split(2**14, dim=1), error.split(2**14, dim=1), strict=True):
        gram += (some @ some.T).double()  # sums of more would lose the small differences in float32
        wanted += (some @ missed.T).double()
    return Statistics(stride**2 * gram.cpu(), stride**2 * wanted.cpu())


def fit(
    found: Statistics, weight: float, bits: NDArray[np.float64], index: NDArray[np.uint8]
) -> tuple[NDArray[np.int16], int, float]:
    """Coefficients (3, FEATURES) and their fineness that save most, and how much: distortion that is worth so many
    bits, less the bits that they take.

    Args:
        weight: bits that a unit of square error is worth, in -1..1.
        bits: (64, N), what magnitudes cost at each scale index.
        index: (3, FEATURES), scale indices of the coefficients.
    """
    gram, wanted = found.gram.numpy(), found.wanted.numpy().T  # (F, F), (3, F)
    steps = UNITS.numpy() * 2 ** (-np.array(TRIED)[:, None] / 2)  # (T, F)
    largest = bits.shape[1] - 1
    damped = gram + np.stack([np.diag(DAMPING / (weight * row**2) + 1e-9 * gram.diagonal()) for row in steps])
    real = np.linalg.solve(damped, wanted.T[None]).transpose(0, 2, 1)  # (T, 3, F), as good as it gets without rounding
    numbers = np.rint(real / steps[:, None]).clip(-largest, largest)
    left = wanted - (numbers * steps[:, None]) @ gram  # what of `wanted` the numbers do not give yet
    for feature in np.tile(np.arange(FEATURES), ROUNDS):
        step, energy = steps[:, None, feature], gram[feature, feature]
        before = numbers[..., feature].copy()
        best = before + left[..., feature] / (energy * step) if energy > 0 else 0 * before
        least = np.full(before.shape, np.inf)
        for candidate in (0 * best, np.floor(best), np.ceil(best)):
            candidate = candidate.clip(-largest, largest)
            rate = bits[index[:, feature], np.abs(candidate).astype(int)]
            cost = weight * energy * (step * (candidate - best)) ** 2 + rate
            numbers[..., feature] = np.where(cost < least, candidate, numbers[..., feature])
            least = np.minimum(cost, least)
        change = (numbers[..., feature] - before) * step  # (T, 3)
        left -= change[..., None] * gram[feature]
    real = numbers * steps[:, None]
    saved = weight * ((wanted + left) * real).sum((1, 2))  # 2 w'c - c'Gc
    spent = bits[index, np.abs(numbers).astype(int)].sum((1, 2))
    chosen = int((saved - spent).argmax())
    return numbers[chosen].astype(np.int16), TRIED[chosen], float((saved - spent)[chosen])


@torch.no_grad()
def chunk(model: Model, draft: Draft) -> dict[bytes, bytes]:
    """The chunk with the best filter for a picture, none where the model has no filters or none pays."""
    if SCALE not in model.integers:
        return {}
    bits = symbol_bits(model.tables).double().numpy()
    index = _index(model)
    coefficients, fineness, gain = fit(observe(model, draft), error_weight(draft.quality).item(), bits, index)
    if gain <= 8 * OVERHEAD:
        return {}
    return {FILTER: bytes([fineness]) + encode_values(model.tables, coefficients, index)}


@torch.no_grad()
def observe(model: Model, draft: Draft) -> Statistics:
    """What there is to know of a picture to fit a filter."""
    stride, gain = stride_for(draft.shape[0] * draft.shape[1]), model.transforms.gain(draft.quality)
    total = None
    for region in regions(model, draft):
        made = assemble(*model.transforms.synthesis(region.latent / gain, draft.quality))
        rows, columns = region.inside()
        found = statistics(made[..., rows, columns], region.picture[..., rows, columns], stride)
        total = found if total is None else total + found
    assert total is not None
    return total
