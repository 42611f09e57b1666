"""A filter for each picture: what its decoded form gets wrong throughout, said in some fifty bytes.

The synthesis serves all pictures alike. Of each picture's error a linear filter of the decoded pixels could still take
away a part, which differs from picture to picture: sharpness, the tint of what is bright, colours that a lens has
shifted. The encoder solves for that filter (least squares, after Wiener), rounds its coefficients by rate and
distortion and sends those that pay. Video codecs do the same to their decoded frames: Tsai et al., "Adaptive Loop
Filtering for Video Coding", IEEE J. Selected Topics in Signal Processing 2013.

A filter takes 5x5 pixels of three colours to three colours, both in opponent colours (light, red against blue, green
against both), and counts its coefficients in features that are alike in size: of each colour the pixel itself, and for
twelve pairs of pixels on opposite sides of it how far they lie above it together, and above each other; and a constant.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bitstream import Error, decode_values, encode_values
from bitstream.container import FILTER
from codec.model import Model
from codec.network import assemble
from codec.search import Draft, error_weight, regions, symbol_bits

REACH = 2
OPPONENT = F.normalize(torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64, device="cpu"))
PAIRS = [(row, column) for row in range(REACH + 1) for column in range(-REACH, REACH + 1) if (row, column) > (0, 0)]
FEATURES = 3 * (1 + 2 * len(PAIRS)) + 1
SCALE = "filter.scale"  # the integer tensor (3, FEATURES) of scale indices by which a model's filters are coded
FINEST = 24  # half octaves: steps are 2^0 to 2^-12
TRIED = range(8, FINEST + 1)
AT_ONCE = 4
MACS = 3 * 3 * 5 * (5 + AT_ONCE - 1)  # multiply-accumulates a pixel, zeros in the kernel for four included
SAMPLES = 2**16  # pixels that are enough to fit a filter to
OVERHEAD = 14  # bytes: type and length of the chunk, step, flags and the coder's last words
DAMPING = 0.5  # bits for a coefficient of one step, four times that for two ..., to set out from small ones
ROUNDS = 4  # in which the coefficients are rounded in turn


def _taps() -> Tensor:
    """Kernels (75, 3, 5, 5) that make all features but the constant of an RGB picture."""
    taps = []
    for colour in OPPONENT:
        centre = torch.zeros(3, 5, 5, dtype=torch.float64, device="cpu")
        centre[:, REACH, REACH] = colour
        taps.append(centre)
        for row, column in PAIRS:
            behind, before = torch.zeros_like(centre), torch.zeros_like(centre)
            behind[:, REACH + row, REACH + column] = colour
            before[:, REACH - row, REACH - column] = colour
            taps += [behind + before - 2 * centre, behind - before]
    return torch.stack(taps)


TAPS = _taps()
# A step of the pixel itself, or of the constant, changes far more pixels by far more than one of a difference.
UNITS = torch.tensor(
    [1 / 8 if tap.sum((1, 2)).abs().max() > 0 else 1.0 for tap in TAPS] + [1 / 64], dtype=torch.float64, device="cpu"
)


@dataclass(frozen=True)
class PostFilter:
    """A filter that is ready to use, float32: `kernel` (3, 3, 5, 5) and `constant` (3,) say what is added to a picture.

    Four neighbours in a row are made at once, by one kernel of 8 columns and 12 channels, `wide`: convolutions to three
    channels are slow.
    """

    kernel: Tensor
    constant: Tensor
    wide: Tensor

    def __call__(self, picture: Tensor, scale: int = 1) -> Tensor:
        """The filtered picture, of one that is limited to -1..1 first, its border repeated outwards.

        Args:
            picture: (B, 3, H, W) in about -1..1, W a multiple of 4.
            scale: 2, 4 or 8 for a picture at a fraction of its size, where five pixels are less than three, and only
                what the filter does to flat areas is left.
        """
        if scale > 1:
            picture = picture.clamp(-1, 1)
            return picture + F.conv2d(picture, self.kernel.sum((2, 3), keepdim=True), self.constant)
        padded = F.pad(picture, (REACH,) * 4, mode="replicate").clamp_(-1, 1)
        some = F.conv2d(padded, self.wide, self.constant.repeat_interleave(AT_ONCE), stride=(1, AT_ONCE))
        parts = some.unflatten(1, (3, AT_ONCE))  # (B, 3, 4, H, W/4)
        return parts.permute(0, 1, 3, 4, 2).flatten(3)  # (B, 3, H, W)


def of_coefficients(coefficients: NDArray[np.int16], fineness: int, device: torch.device) -> PostFilter:
    """The filter of integers (3, FEATURES), each a multiple of its unit times 2^(-fineness / 2)."""
    real = torch.from_numpy(coefficients.astype(np.float64)) * UNITS * 2 ** (-fineness / 2)
    kernel = torch.einsum("or,of,fcyx->rcyx", OPPONENT, real[:, :-1], TAPS)
    whole = kernel.clone()
    whole[:, :, REACH, REACH] += torch.eye(3)
    wide = torch.stack([F.pad(whole, (place, AT_ONCE - 1 - place)) for place in range(AT_ONCE)], dim=1).flatten(0, 1)
    constant = real[:, -1] @ OPPONENT
    return PostFilter(*(part.float().to(device) for part in (kernel, constant, wide)))


def read(model: Model, chunks: dict[bytes, bytes]) -> PostFilter | None:
    """The filter in a file's chunks, None if there is none. Raises `Error` if it is damaged."""
    if FILTER not in chunks:
        return None
    if SCALE not in model.integers:
        raise Error(f"the model {model.name} has no filters, but the file has one")
    body = chunks[FILTER]
    if not body or body[0] > FINEST:
        raise Error("the filter is damaged: its step is unknown")
    try:
        coefficients = decode_values(model.tables, _index(model), body[1:])
    except Error:
        raise Error("the filter is damaged: its coefficients cannot be decoded") from None
    return of_coefficients(coefficients, body[0], model.device)


def _index(model: Model) -> NDArray[np.uint8]:
    return model.integers[SCALE].cpu().numpy().astype(np.uint8)


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
