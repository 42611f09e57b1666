"""Full definition of lapic's networks of the first generation, and of what both generations share.

All convolution happens at 1/16, 1/8 and, where a model has that stage, 1/4 resolution, in residual blocks of 1x1 and
depthwise 3x3 convolutions, the style of the real-time codecs DCVC-RT (Jia et al., CVPR 2025) and EVC (Wang et al., ICLR
2023). Beside each network runs a linear path, one 1x1 convolution on 16x16 pixel blocks that starts as the principal
components (KLT) of photos: the untrained codec is already a working transform codec, and pictures unlike any photo stay
sane.

Pixels are in -1..1 here. B: batch, M: latent channels, Z: hyper-latent channels, H and W: multiples of 16.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lapic.codec.nets import levels as levels_module
from lapic.codec.nets import second
from lapic.codec.nets.config import Config
from lapic.codec.nets.layers import Modulation, asinh, silu
from lapic.codec.nets.pyramid import add, bands_from, collapse, partial_collapses, reduce, shuffle
from lapic.codec.nets.strips import blocks_in_strips, in_strips, with_neighbours


class Block(nn.Module):
    """Residual block: 1x1, depthwise 3x3, 1x1, then a pointwise expansion by two."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)
        self.filter = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.join = nn.Conv2d(channels, channels, 1)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.narrow = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        x = self.join(self.filter(silu(self.mix(x)))).add_(x)
        return self.narrow(silu(self.widen(x))).add_(x)

    def window(self, x: Tensor, rows: slice) -> Tensor:
        """Some rows of what `forward` returns."""
        seen, place = with_neighbours(rows, x.shape[2])
        filtered = self.filter(silu(self.mix(x[:, :, seen])))[:, :, place]
        x = self.join(filtered).add_(x[:, :, rows])
        return self.narrow(silu(self.widen(x))).add_(x)


class QuarterAnalysis(nn.Module):
    """The branch at 1/4: its cells of 4x4 pixels resolve detail within the 8x8 cells of the features at 1/8."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.enter = nn.Conv2d(48, config.quarter, 1)
        self.blocks = nn.Sequential(*(Block(config.quarter) for _ in range(config.quarter_blocks)))
        self.down = nn.Conv2d(4 * config.quarter, config.fine, 1)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) in -1..1 -> (B, fine, H/8, W/8)."""
        x = in_strips(self.enter, F.pixel_unshuffle(picture, 4).to(self.enter.weight.dtype))
        x = blocks_in_strips(self.blocks, x)  # (B, Q, H/4, W/4)
        return in_strips(self.down, F.pixel_unshuffle(x, 2))


def quarter_cells(eighths: Tensor) -> Tensor:
    """A picture unshuffled by 8, (B, 192, h, w), as it is unshuffled by 4, (B, 48, 2h, 2w), without making it."""
    batch, _, height, width = eighths.shape
    cells, four = eighths.permute(0, 2, 3, 1), 4
    if eighths.element_size() == 2 and not torch.is_grad_enabled():  # four neighbours move as one 64-bit number
        cells, four = cells.contiguous().view(torch.int64), 1
    parts = cells.reshape(batch, height, width, 3, 2, 4, 2, four).permute(0, 1, 4, 2, 6, 3, 5, 7)
    parts = parts.reshape(batch, 2 * height, 2 * width, 12 * four).view(eighths.dtype)
    return parts.permute(0, 3, 1, 2)  # channels last


class QuarterSynthesis(nn.Module):
    """The branch at 1/4: additions to the three finer bands of the pyramid."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.up = nn.Conv2d(config.fine, 4 * config.quarter, 1)
        self.see = nn.Conv2d(48, config.quarter, 1)
        self.level = Modulation(config.quarter, config.levels)
        self.blocks = nn.Sequential(*(Block(config.quarter) for _ in range(config.quarter_blocks)))
        self.leave = nn.Conv2d(config.quarter, 3 * (1 + 4 + 16), 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, base: Tensor, quality: Tensor) -> list[Tensor]:
        """Features (B, fine, H/8, W/8), the linear picture unshuffled by 8 (B, 192, H/8, W/8) and fixed-point qualities
        (B,) -> additions (B, 3, ., .) at 1/4, 1/2 and 1/1 of (H, W)."""
        seen = in_strips(self.see, quarter_cells(base.to(x.dtype)), free=True)
        x = F.pixel_shuffle(in_strips(self.up, x, free=True), 2).add_(seen)  # (B, Q, H/4, W/4)
        x = blocks_in_strips(self.blocks, self.level(x, quality), free=True)
        return bands_from(in_strips(self.leave, x, free=True), levels=2)  # of (B, 63, H/4, W/4)


class Analysis(nn.Module):
    """From a picture to its latent y. The same y serves every quality."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.linear = nn.Conv2d(768, config.latent, 1, bias=False)
        self.enter = nn.Conv2d(192, config.fine, 1)
        self.fine = nn.Sequential(*(Block(config.fine) for _ in range(config.fine_blocks + config.more_fine)))
        self.down = nn.Conv2d(4 * config.fine, config.coarse, 1)
        self.coarse = nn.Sequential(*(Block(config.coarse) for _ in range(config.coarse_blocks + config.more_coarse)))
        self.leave = nn.Conv2d(config.coarse, config.latent, 1)
        self.quarter = QuarterAnalysis(config) if config.quarter else None
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, picture: Tensor) -> Tensor:
        """Picture (B, 3, H, W) in -1..1 -> y (B, M, H/16, W/16), float32."""
        pixels = F.pixel_unshuffle(picture, 8)  # (B, 192, H/8, W/8)
        x = in_strips(self.enter, pixels.to(self.enter.weight.dtype))
        x = blocks_in_strips(self.fine, x + self.quarter(picture) if self.quarter else x)  # (B, fine, H/8, W/8)
        x = blocks_in_strips(self.coarse, in_strips(self.down, F.pixel_unshuffle(x, 2)))  # (B, coarse, H/16, W/16)
        with torch.autocast(picture.device.type, enabled=False):  # half precision would cost quality at high rates
            linear = in_strips(self.linear, F.pixel_unshuffle(pixels, 2))
        return linear + in_strips(self.leave, x).float()


class Synthesis(nn.Module):
    """From a latent y^ to a picture, as the sum of a linear one and a Laplacian pyramid."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.linear = nn.Conv2d(config.latent, 768, 1, bias=False)
        self.enter = nn.Conv2d(config.latent, config.coarse, 1)
        self.enter_level = Modulation(config.coarse, config.levels)
        self.coarse = nn.Sequential(*(Block(config.coarse) for _ in range(config.coarse_blocks)))
        self.up = nn.Conv2d(config.coarse, 4 * config.fine, 1)
        self.see = nn.Conv2d(192, config.fine, 1)  # the linear picture, so that its block edges can be mended
        self.up_level = Modulation(config.fine, config.levels)
        self.fine = nn.Sequential(*(Block(config.fine) for _ in range(config.fine_blocks)))
        self.leave = nn.Conv2d(config.fine, 3 * (1 + 4 + 16 + 64), 1)
        self.quarter = QuarterSynthesis(config) if config.quarter else None
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, latent: Tensor, quality: Tensor, scale: int = 1) -> tuple[Tensor, list[Tensor]]:
        """Synthesise: `features`, then `bands`.

        Args:
            latent: y^, (B, M, h, w) float32.
            quality: fixed-point qualities 256..25600, (B,) or of each place (B, h, w).
            scale: of the output; for 8 the branch at 1/4 does not run, and the finer bands lack its additions.

        Returns:
            base: (B, 192, 2h, 2w) float32, the linear path's picture in -1..1, pixel-unshuffled by 8.
            pyramid: four bands (B, 3, ., .) at 1/8, 1/4, 1/2 and 1/1 of (16h, 16w), coarse to fine, float32.
        """
        base, x = self.features(latent, quality)
        return base, self.bands(base, x, quality, scale)

    def features(self, latent: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """base and the last features at 1/8, (B, fine, 2h, 2w)."""
        with torch.autocast(latent.device.type, enabled=False):
            base = F.pixel_shuffle(in_strips(self.linear, latent, free=True), 2)  # (B, 192, 2h, 2w)
        dtype = self.enter.weight.dtype
        x = self.enter_level(in_strips(self.enter, latent.to(dtype), free=True), quality)
        x = blocks_in_strips(self.coarse, x, free=True)  # (B, coarse, h, w)
        seen = in_strips(self.see, base.to(dtype), free=True)
        x = F.pixel_shuffle(in_strips(self.up, x, free=True), 2).add_(seen)  # (B, fine, 2h, 2w)
        return base, blocks_in_strips(self.fine, self.up_level(x, quality), free=True)  # (B, fine, 2h, 2w)

    def bands(self, base: Tensor, x: Tensor, quality: Tensor, scale: int = 1, follow: bool = True) -> list[Tensor]:
        """The pyramid from base and features; gradients pass through the branch at 1/4 only with `follow`."""
        low, *finer = bands_from(in_strips(self.leave, x, free=True), levels=3)  # of (B, 255, 2h, 2w)
        if self.quarter and scale < 8:
            with nullcontext() if follow else torch.no_grad():
                more = self.quarter(x, base, quality)
            finer = [add(band, addition) for band, addition in zip(finer, more, strict=True)]
        return [low, *finer]

    def patterns(self) -> Tensor:
        """The linear picture of a one in each latent channel, (M, 3, 16, 16)."""
        return shuffle(F.pixel_shuffle(self.linear.weight.transpose(0, 1), 2), 8)

    def parts(self, latent: Tensor, quality: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The linear picture (B, 3, 16h, 16w), and what the pyramid adds to it at 1/8, 1/4, 1/2 and 1/1 of the size."""
        base, pyramid = self(latent, quality)
        return shuffle(base, 8), partial_collapses(pyramid)

    def picture(self, latent: Tensor, quality: Tensor, scale: int = 1, follow: bool = True) -> Tensor:
        """The picture (B, 3, 16h / scale, 16w / scale) of latents y^ (B, M, h, w) at fixed-point qualities (B,);
        gradients pass through the branch at 1/4 only with `follow`."""
        base, features = self.features(latent, quality)
        return assemble(base, self.bands(base, features, quality, scale, follow), scale)

    def picture_and_features(self, latent: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """`picture` at full size, and the last features at 1/8, (B, fine, 2h, 2w)."""
        base, features = self.features(latent, quality)
        return assemble(base, self.bands(base, features, quality)), features


def assemble(base: Tensor, pyramid: list[Tensor], scale: int = 1) -> Tensor:
    """The picture at 1/`scale` of its size (1, 2, 4 or 8): the pyramid collapsed so far, plus the linear picture.

    The pyramid is linear, so adding the linear picture at the end equals adding its own pyramid band by band.
    """
    halvings = scale.bit_length() - 1
    linear = shuffle(base, 8)  # (B, 3, 16h, 16w)
    for _ in range(halvings):
        linear = reduce(linear)
    if halvings == len(pyramid) - 1:
        return linear + pyramid[0]
    return add(collapse(pyramid[: len(pyramid) - halvings]), linear)


class HyperAnalysis(nn.Module):
    """From a gained latent to its hyper-latent."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        wide = config.hyper_wide
        self.enter = nn.Conv2d(config.latent, wide, 1)
        self.filter = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.second = nn.Conv2d(4 * wide, wide, 1)
        self.second_filter = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.leave = nn.Conv2d(4 * wide, config.hyper, 1)

    def forward(self, gained: Tensor) -> Tensor:
        """(B, M, h, w), h and w multiples of 4 -> z (B, Z, h/4, w/4), float32, not yet rounded."""
        x = asinh(gained).to(self.enter.weight.dtype)
        x = F.silu(self.filter(F.silu(self.enter(x))))  # (B, W, h, w)
        x = F.silu(self.second_filter(F.silu(self.second(F.pixel_unshuffle(x, 2)))))  # (B, W, h/2, w/2)
        return self.leave(F.pixel_unshuffle(x, 2)).float()  # (B, Z, h/4, w/4)


class Transforms(nn.Module):
    """The float half of a model: analysis, synthesis, hyper-analysis and the gains between y and its symbols."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config) if config.generation == 1 else second.Analysis(config)
        self.synthesis = Synthesis(config) if config.generation == 1 else second.Synthesis(config)
        self.hyper_analysis = HyperAnalysis(config)
        self.log_gain = nn.Parameter(torch.zeros(config.levels, config.latent))

    def gain(self, quality: Tensor) -> Tensor:
        """Quantisation steps per unit of y, (B, M, 1, 1), at fixed-point qualities (B,), or (B, M, h, w) at those of
        each place, (B, h, w); the gain vectors of Cui et al., "Asymmetric Gained Deep Image Compression", CVPR 2021,
        interpolated geometrically."""
        rows = levels_module.interpolate_levels(self.log_gain, quality).exp().float()
        return levels_module.broadcast_rows(rows)
