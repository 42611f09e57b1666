"""The translator in training form: its input and output are whitened DCT coefficients in place of pixels.

Neighbouring pixels are nearly equal: detail, which a restorer has to predict, is a thousandth of the energy of its
input, and a network with random weights would neglect it. In front of the trainable layers stands the orthonormal
4x4 DCT (Ahmed, Natarajan, Rao, 1974) of three opponent colours, each coefficient divided by its standard deviation over
photos; behind them the inverse DCT. Both are fixed and linear, and `fold` multiplies them into the 1x1 layers next to
them: the exported network is a plain codec.nets.translator.Translator of the same arithmetic.
"""

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from lapic.codec.nets.translator import CELL, FINEST, Translator, TranslatorConfig

OUTPUT_SCALE = 0.1  # of the whitened network's last layer: damage is small beside pictures
FLOOR = 5 / 127.5  # added to standard deviations (as squares): 5 grey levels
COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))


def basis(edge: int = CELL) -> Tensor:
    """The transform as an orthonormal (3 e^2, 3 e^2) matrix: pixel_unshuffle's channels in, coefficients out."""
    place = torch.arange(edge, dtype=torch.float64)
    cosine = torch.cos(torch.pi * (2 * place[None] + 1) * place[:, None] / (2 * edge)) * (2 / edge) ** 0.5
    cosine[0] /= 2**0.5
    colours = torch.nn.functional.normalize(torch.tensor(COLOURS, dtype=torch.float64), dim=1)
    return torch.kron(colours, torch.kron(cosine, cosine)).float()


class WhitenedTranslator(Translator):
    """A Translator between fixed transforms."""

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__(config)
        self.register_buffer("basis", basis())
        self.register_buffer("gain", torch.ones(FINEST))

    def fit(self, pictures: Tensor) -> None:
        """Set the gains from clean pictures (B, 3, H, W) in -1..1."""
        cells = F.pixel_unshuffle(pictures, CELL).transpose(0, 1).flatten(1)  # (48, cells)
        power = (self.basis @ cells).square().mean(1)
        self.gain.copy_((power + FLOOR**2).rsqrt())

    def features(self, picture: Tensor) -> Tensor:
        """As Translator.features, of whitened coefficients."""
        transform = (self.gain[:, None] * self.basis)[:, :, None, None]
        return self.enter(F.conv2d(F.pixel_unshuffle(picture, CELL), transform))

    def change(self, x: Tensor) -> Tensor:
        """As Translator.change; the finest residual comes out of the inverse DCT."""
        change = self.leave(x).float() * OUTPUT_SCALE
        finest = F.conv2d(change[:, -FINEST:], self.basis.T[:, :, None, None])
        return torch.cat([change[:, :-FINEST], finest], dim=1)

    def fold(self) -> Translator:
        """The plain translator that computes the same."""
        plain = Translator(self.config)
        state = {k: v for k, v in copy.deepcopy(self.state_dict()).items() if k not in ("basis", "gain")}
        plain.load_state_dict(_rescale(state, self.basis, self.gain, OUTPUT_SCALE))
        return plain

    def unfold(self, plain: Translator) -> None:
        """Take over the weights of a plain translator, so that this one computes the same."""
        state = copy.deepcopy(plain.state_dict())
        state = _rescale(state, self.basis.T, 1 / self.gain, 1 / OUTPUT_SCALE, before=False)
        self.load_state_dict(state | {"basis": self.basis, "gain": self.gain})


def _rescale(
    state: dict[str, Tensor], transform: Tensor, gain: Tensor, scale: float, before: bool = True
) -> dict[str, Tensor]:
    """`state` with gain and transform multiplied into the first layer and their transpose into the last; with `before`
    the gain acts in front of the transform, otherwise behind it."""
    first = state["enter.weight"][:, :, 0, 0]
    first = (first * gain) @ transform if before else (first @ transform) * gain
    last, bias = state["leave.weight"][:, :, 0, 0] * scale, state["leave.bias"] * scale
    fine = slice(-FINEST, None)
    last[fine], bias[fine] = transform.T @ last[fine], transform.T @ bias[fine]
    return state | {"enter.weight": first[:, :, None, None], "leave.weight": last[:, :, None, None], "leave.bias": bias}
