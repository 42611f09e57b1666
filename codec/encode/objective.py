"""The cost that a search lowers: the bits of symbols plus the errors of pixels, counted in bits."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lapic.codec.encode.appearance import Appearance, Parts, block_sums
from lapic.codec.encode.draft import Region
from lapic.codec.encode.rate import cost_of, error_weight
from lapic.codec.exact.context import Coded
from lapic.codec.model.codec_weights import Model
from lapic.codec.nets import levels
from lapic.codec.picture.tiling import LATENT, Rect

COUPLING = 0.32  # rise of a latent's curvature if all latents move at once, since they correct the same error
PICTURE_LIMIT = 4.0  # of pictures in -1..1, beyond which they have burst
BURST_BITS = 1e6  # what each pixel costs that has
ERROR_CLIP = 4.0  # limit of errors, pictures being in -1..1: larger ones are of a failed step and overflow float16


@dataclass(frozen=True)
class Objective:
    """The cost that a search lowers, in bits: those of symbols plus weighted errors of pixels, of B regions of one
    shape.

    Attributes:
        bits: (64, 256), see `symbol_bits`.
        quality: fixed-point, (B,) or of each place (B, h, w).
        picture: (B, 3, 16h, 16w) in -1..1, the original.
        gain: (B, M, 1, 1) or (B, M, h, w), quantisation steps per unit of a latent.
        weight: (B, 1, 1, 1) or (B, 1, h, w), bits that a unit of square error is worth.
        gradient_scale: (B, 1, 1, 1), a power of two near 2 `weight`. Gradients are computed without it, since float16
            could not hold them, and multiplied by it afterwards.
        measure: of errors; None for plain square errors.
        orthonormal_curvature: (B, M, 1, 1) or (B, M, h, w), second derivative of the cost by a latent in steps, as if
            the synthesis were orthonormal.
        single_curvature: (B, M, 1, 1) or (B, M, h, w), factor of that for this model if one latent moves alone.
        features: (B, W, h, w) of what the region shows of each tile, from the hyper-synthesis.
    """

    model: Model
    region: Region
    bits: Tensor
    quality: Tensor
    picture: Tensor
    gain: Tensor
    weight: Tensor
    gradient_scale: Tensor
    measure: Appearance | None
    orthonormal_curvature: Tensor
    single_curvature: Tensor
    features: list[Tensor]

    @classmethod
    def of(cls, model: Model, region: Region, features: Mapping[Rect, Tensor], bits: Tensor) -> "Objective":
        """The objective that counts plain square errors; `features` (B, W, h, w) are those of whole tiles."""
        quality = region.quality
        picture = region.picture.contiguous()  # plane by plane, like the output of the synthesis
        gain = model.transforms.gain(quality)
        weight = levels.broadcast_rows(error_weight(quality)[:, None])
        scale = (2 * weight.amax((2, 3), keepdim=True)).log2().floor().exp2()
        seen = [features[part.rect][:, :, *part.window].contiguous() for part in region.parts]
        curvature, single = 2 * weight / gain**2, model.curvature_at(quality)
        return cls(model, region, bits, quality, picture, gain, weight, scale, None, curvature, single, seen)

    def near(self, draft: Tensor) -> "Objective":
        """The same, with errors that count as `Appearance` says near a draft of the picture, (B, 3, 16h, 16w)."""
        height, width = self.region.size
        draft = draft.clone()
        draft[..., height:, :], draft[..., width:] = self.picture[..., height:, :], self.picture[..., width:]
        measure = Appearance.near(self.picture, draft)
        curvature = self.orthonormal_curvature * measure.curvature(self.model.transforms.synthesis)
        return replace(self, measure=measure, orthonormal_curvature=curvature)

    def synthesise(self, latent: Tensor) -> Tensor:
        """The picture (B, 3, 16h, 16w) of latents (B, M, h, w) in steps, with a gradient that leaves out a stage at
        1/4: a step takes a tenth less time, and files cost 0.2 % more at most, since that stage depends little on any
        one latent. Plane by plane, like the original."""
        synthesis = self.model.transforms.synthesis
        return synthesis.picture(latent / self.gain, self.quality, follow=False).contiguous()

    def without_bursts(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """A picture (B, 3, 16h, 16w) with the original's pixels where it has burst, as half precision does where it
        overflows, and what that costs each place, (B, 1, h, w) in bits: no error there leads a step astray."""
        burst = (picture.abs() <= PICTURE_LIMIT).logical_not_()
        if not burst.any():
            return picture, torch.zeros((), device=picture.device)
        count = block_sums(burst.any(1, keepdim=True).float(), LATENT)
        return torch.where(burst, self.picture, picture), _mean_around(BURST_BITS * count)

    def error(self, picture: Tensor) -> Tensor:
        """The error of a picture, 0 in the padding."""
        height, width = self.region.size
        error = picture - self.picture
        error[..., height:, :], error[..., width:] = 0, 0
        return error

    def split(self, error: Tensor) -> Parts:
        """The parts of an error that the measure weighs, for `cost` and `gradient`; none of plain square errors."""
        return self.measure.split(error) if self.measure else []

    def cost(self, error: Tensor, parts: Parts, tiles: list[Coded]) -> Tensor:
        """The cost of the pixels and symbols of each place, averaged over its surroundings, (B, 1, h, w) in bits; of
        symbols those that are improved, see `SearchState.coded`."""
        cost = _mean_around(self.weight * (self.measure.cost(error, parts) if self.measure else _square_error(error)))
        for part, coded in zip(self.region.parts, tiles, strict=True):
            rate = cost_of(self.bits, coded.symbol, coded.index).sum(1, keepdim=True)
            cost[(..., *part.improved(part.place))] += _mean_around(rate)
        return cost

    def gradient(self, picture: Tensor, latent: Tensor, error: Tensor, parts: Parts) -> Tensor:
        """The gradient (B, M, h, w) of the errors' cost by the latents that `picture` was made from. Overwrites
        `error`."""
        clipped_error = (self.measure.slope(error, parts) if self.measure else error).clamp_(-ERROR_CLIP, ERROR_CLIP)
        clipped_error.mul_(levels.spread_to(2 * self.weight / self.gradient_scale, error.shape[2:]))
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(_Pulled.apply(picture, clipped_error), latent)
        return gradient.nan_to_num(0, 0, 0) * self.gradient_scale

    def curvature(self, moving: float) -> Tensor:
        """The second derivative of the cost by a latent if a fraction `moving` of all moves at once."""
        return self.orthonormal_curvature * (self.single_curvature + COUPLING * moving)


class _Pulled(torch.autograd.Function):
    """A number whose gradient by a picture is a given one. `torch.autograd.grad` takes a gradient to start from too,
    but imports SymPy to check its shape, which takes half a second."""

    @staticmethod
    def forward(ctx, picture: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return picture.new_zeros(())

    @staticmethod
    def backward(ctx, one: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient, None


def _square_error(error: Tensor) -> Tensor:
    """The square error (B, 3, 16h, 16w) of the pixels of each latent, (B, 1, h, w)."""
    return block_sums(error.square().sum(1, keepdim=True), LATENT)


def _mean_around(cost: Tensor) -> Tensor:
    """The mean of a map (B, 1, h, w) over the 3 x 3 places around each, since neighbours share pixels."""
    return F.avg_pool2d(cost, 3, stride=1, padding=1, count_include_pad=False)
