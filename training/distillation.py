"""How a model of the second generation learns from one of the first: its synthesis and entropy model from the teacher's
latents, its analysis to find these. The three parts do not wait for each other, as they do when trained jointly."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.encode.rate import rate_weight
from lapic.codec.nets import levels, second
from lapic.codec.nets.network import Transforms
from lapic.codec.nets.pyramid import shuffle
from lapic.training.eye import Distortion
from lapic.training.initial import FLOOR, start_networks
from lapic.training.loop import Batch, Figures, Loss, Models
from lapic.training.rate_distortion import COST_FLOOR, TrainableCodec, loss, normalise, random_qualities

# Bits that an error of a step^2 costs. Uniform quantisation by steps s has the error s^2 / 12 and the rate -log2 s, so
# where lambda error + rate is least, lambda s^2 / 6 = 1 / ln 2.
BITS_OF_ERROR = 6 / math.log(2)


class Teacher(nn.Module):
    """The latents of a finished model, of which a student has fewer channels.

    Attributes:
        transforms: the finished model's.
        kept: the channels (M,) that the student has, in their order; the same in every process.
    """

    def __init__(self, transforms: Transforms, kept: Tensor) -> None:
        super().__init__()
        self.transforms = transforms.requires_grad_(False).to(memory_format=torch.channels_last)
        self.register_buffer("kept", kept)

    @torch.no_grad()
    def forward(self, picture: Tensor) -> Tensor:
        """A picture (B, 3, H, W) in -1..1 -> y (B, M, H/16, W/16), float32."""
        return self.transforms.analysis(picture)[:, self.kept]


def most_used(gained: Tensor, count: int, first: int) -> Tensor:
    """The numbers of `count` channels of latents (B, M, h, w) in quantisation steps: the `first` ones, which an entropy
    model codes first, and those of the others that take most bits, in ascending order."""
    bits = gained.square().log1p().mean((0, 2, 3))
    bits[:first] = math.inf
    return bits.topk(count).indices.sort().values


@torch.no_grad()
def follow(model: TrainableCodec, teacher: Transforms, crops: Tensor, highest: int) -> Teacher:
    """Start a model of the second generation from the linear paths, gains and latents of one of the first, in place.

    Args:
        crops: (B, 3, P, P) in -1..1, P a multiple of 16. highest: the quality by which channels are chosen.
    """
    nets, config = model.transforms, model.config
    quality = torch.tensor([highest * levels.QUALITY_ONE])
    latent = teacher.analysis(crops)
    kept = most_used(latent * teacher.gain(quality), config.latent, config.context)
    latent = latent[:, kept]
    start_networks(nets, crops)
    blocks = F.pixel_shuffle(teacher.analysis.linear.weight[kept].reshape(-1, 768, 1, 1), 2)  # (M, 192, 2, 2)
    nets.analysis.linear.weight.copy_(_by_cells(shuffle(blocks, 8)))
    nets.synthesis.linear.weight.copy_(_by_cells(teacher.synthesis.patterns()[kept]).transpose(0, 1))
    deviation = latent.square().mean((0, 2, 3)).sqrt()
    enter = nets.synthesis.enter.weight
    nn.init.normal_(enter, 0, config.latent**-0.5).div_(deviation.clamp(min=8 * FLOOR)[:, None, None])
    nets.log_gain.copy_(teacher.log_gain[:, kept])
    model.hyper_synthesis.set_scales(0.5 * deviation * nets.log_gain.exp())
    return Teacher(teacher, kept)


def _by_cells(patterns: Tensor) -> Tensor:
    """Patterns (M, 3, 16, 16) as the weights (M, 768, 1, 1) of a 1x1 convolution of pixels grouped by cells."""
    return second.to_latents(patterns).permute(0, 3, 1, 2)


def distillation(teacher: Teacher, lowest: int, highest: int, distortion: Distortion) -> Loss:
    """The loss of rate and distortion of the teacher's latents at random qualities, plus that of the student's errors
    in finding them, for a batch of crops (B, 3, P, P) uint8."""

    def learn(models: Models, batch: Batch, shared: object) -> tuple[Tensor, Figures]:
        (pixels,) = batch
        quality = random_qualities(pixels, lowest, highest)
        taught = teacher.to(pixels.device)(normalise(pixels))
        estimate = models["model"](pixels, quality, taught)
        total, bpp, mse = loss(estimate, pixels, quality, distortion.to(pixels.device))
        gain = teacher.transforms.gain(quality)[:, teacher.kept]
        error = ((estimate.latent - taught) * gain).square().flatten(1).sum(1) / pixels[0, 0].numel()
        missed = BITS_OF_ERROR * error / rate_weight(quality).sqrt()
        figures = {"bpp": bpp.mean().item(), "mse": mse.mean().item(), "missed": missed.median().item()}
        return total + (COST_FLOOR * (1 + missed / COST_FLOOR).log()).mean(), figures

    return learn
