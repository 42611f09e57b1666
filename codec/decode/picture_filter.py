"""A filter for each picture that lowers its error throughout, in some fifty bytes.

The synthesis serves all pictures alike. A linear filter of the decoded pixels removes a part of the error that differs
from picture to picture: sharpness, the tint of bright areas, colours that a lens has shifted. The encoder solves for
that filter (least squares, after Wiener), rounds its coefficients by rate and distortion, and sends it if it saves more
than it costs. Video codecs do the same to their decoded frames: Tsai et al., "Adaptive Loop
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

from lapic.bitstream import Error, decode_values
from lapic.bitstream.container import FILTER
from lapic.codec.model.codec_weights import Model

REACH = 2
OPPONENT = F.normalize(torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64, device="cpu"))
PAIRS = [(row, column) for row in range(REACH + 1) for column in range(-REACH, REACH + 1) if (row, column) > (0, 0)]
FEATURES = 3 * (1 + 2 * len(PAIRS)) + 1
SCALE = "filter.scale"  # the integer tensor (3, FEATURES) of scale indices by which a model's filters are coded
FINEST = 24  # half octaves: steps are 2^0 to 2^-12
COLUMNS = 4  # neighbours in a row that one step of the convolution makes
MACS = 3 * 3 * 5 * (5 + COLUMNS - 1)  # multiply-accumulates a pixel, zeros in the kernel for four included


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
# Steps of the coefficients of a pixel itself and of the constant are finer, since these features are larger than
# differences.
UNITS = torch.tensor(
    [1 / 8 if tap.sum((1, 2)).abs().max() > 0 else 1.0 for tap in TAPS] + [1 / 64], dtype=torch.float64, device="cpu"
)


@dataclass(frozen=True)
class PostFilter:
    """A filter that is ready to use, float32: `kernel` (3, 3, 5, 5) and `constant` (3,) say what is added to a picture.

    One kernel of 8 columns and 12 channels, `wide`, makes four neighbours in a row at once, since convolutions to three
    channels are slow. Its channels have the colours of the first neighbour, then those of the second, and so on.
    """

    kernel: Tensor
    constant: Tensor
    wide: Tensor

    def __call__(self, picture: Tensor, scale: int = 1) -> Tensor:
        """Clamp a picture to -1..1, replicate its border and filter it.

        Args:
            picture: (B, 3, H, W) in about -1..1, W a multiple of 4.
            scale: 2, 4 or 8 for a picture at a fraction of its size, where five pixels are less than three, and only
                what the filter does to flat areas is left.
        """
        if scale > 1:
            picture = picture.clamp(-1, 1)
            return picture + F.conv2d(picture, self.kernel.sum((2, 3), keepdim=True), self.constant)
        padded = _with_border(picture).clamp_(-1, 1)
        groups = F.conv2d(padded, self.wide, self.constant.repeat(COLUMNS), stride=(1, COLUMNS))
        parts = groups.unflatten(1, (COLUMNS, 3))  # (B, 4, 3, H, W/4)
        return parts.permute(0, 2, 3, 4, 1).flatten(3)  # (B, 3, H, W), a view if channels are last


def _with_border(picture: Tensor) -> Tensor:
    """A picture (B, 3, H, W) with its border repeated REACH times outwards; on a CPU with channels last, as its pixels
    are wanted: filter and rounding take half of the time then."""
    if picture.device.type != "cpu":
        return F.pad(picture, (REACH,) * 4, mode="replicate")
    batch, colours, height, width = picture.shape
    shape = (batch, colours, height + 2 * REACH, width + 2 * REACH)
    padded = torch.empty(shape, dtype=picture.dtype, device=picture.device, memory_format=torch.channels_last)
    inner = padded[:, :, REACH:-REACH]
    inner[..., REACH:-REACH] = picture
    inner[..., :REACH], inner[..., -REACH:] = picture[..., :1], picture[..., -1:]
    padded[:, :, :REACH], padded[:, :, -REACH:] = inner[:, :, :1], inner[:, :, -1:]
    return padded


def of_coefficients(coefficients: NDArray[np.int16], fineness: int, device: torch.device) -> PostFilter:
    """The filter of integers (3, FEATURES), each a multiple of its unit times 2^(-fineness / 2)."""
    real = torch.from_numpy(coefficients.astype(np.float64)) * UNITS * 2 ** (-fineness / 2)
    kernel = torch.einsum("or,of,fcyx->rcyx", OPPONENT, real[:, :-1], TAPS)
    with_input = kernel.clone()  # also passes the picture itself through
    with_input[:, :, REACH, REACH] += torch.eye(3)
    pads = [(place, COLUMNS - 1 - place) for place in range(COLUMNS)]
    wide = torch.cat([F.pad(with_input, pad) for pad in pads])
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
        coefficients = decode_values(model.tables, scale_index(model), body[1:])
    except Error:
        raise Error("the filter is damaged: its coefficients cannot be decoded") from None
    return of_coefficients(coefficients, body[0], model.device)


def scale_index(model: Model) -> NDArray[np.uint8]:
    """The scale indices (3, FEATURES) by which a model's filters are coded."""
    return model.integers[SCALE].cpu().numpy().astype(np.uint8)
