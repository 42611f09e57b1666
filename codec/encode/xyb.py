"""XYB, the colour space of JPEG XL, and the weights that SSIMULACRA2 gives its terms there.

SSIMULACRA2 (Sneyers, Cloudinary, 2022) compares two pictures at six scales. Each of three maps (loss of structural
similarity, added edges, lost edges) gives its mean and its fourth-power norm, for each scale and channel: 108 terms,
of which a weighted sum goes through a polynomial into the score.
"""

import torch
from torch import Tensor

Matrix = tuple[tuple[float, ...], ...]

SCALES = 6
C2 = 0.0009  # SSIM's, which keeps its quotient finite
ABSORBANCE = (
    (0.30, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.5518098665095536),
)  # linear RGB -> LMS, as in JPEG XL
BIAS = 0.0037930732552754493
FROM_ROOTS = (
    (7.0, -7.0, 0.0),
    (0.5, 0.5, 0.0),
    (-0.5, -0.5, 1.0),
)  # cube roots of LMS -> XYB, scaled as the score does
SHIFT = (0.42, 0.01, 0.55)  # to positive values
DARKEST = 1e-7  # below which a cube root counts as flat
KNEE = 0.04045  # of sRGB, between its straight and its curved part
# Weights of the terms by channel (X, Y, B), scale (1/1 to 1/32), norm (mean, fourth power) and map (similarity, added
# edges, lost edges), as libjxl's ssimulacra2.cc has them.
# fmt: off
WEIGHTS = (
    (0.0, 0.0007376606707406586, 0.0, 0.0, 0.0007793481682867309, 0.0),
    (0.0, 0.0004371155730107379, 0.0, 1.1041726426657346, 0.00066284834129271, 0.00015231632783718752),
    (0.0, 0.0016406437456599754, 0.0, 1.8422455520539298, 11.441172603757666, 0.0),
    (0.0007989109436015163, 0.000176816438078653, 0.0, 1.8787594979546387, 10.94906990605142, 0.0),
    (0.0007289346991508072, 0.9677937080626833, 0.0,
     0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053),
    (0.0004550992113792063, 0.0, 0.0, 0.0013648766163243398, 0.0, 0.0),
    (0.0, 0.0, 0.0, 7.466890328078848, 0.0, 17.445833984131262),
    (0.0006235601634041466, 0.0, 0.0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264),
    (225.20515300849274, 0.0, 0.0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985),
    (176.39317598450694, 0.0, 0.0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408),
    (0.0, 0.0, 0.0, 34.77906344483772, 44.835625328877896, 0.0),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (0.0, 0.0008680556573291698, 0.0, 0.0, 0.0, 0.0),
    (0.0, 0.0005313191874358747, 0.0, 0.00016533814161379112, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.0004179171803251336, 0.0017290828234722833, 0.0),
    (0.0020827005846636437, 0.0, 0.0, 8.826982764996862, 23.19243343998926, 0.0),
    (95.1080498811086, 0.9863978034400682, 0.9834382792465353,
     0.0012286405048278493, 171.2667255897307, 0.9807858872435379),
    (0.0, 0.0, 0.0, 0.0005130064588990679, 0.0, 0.00010854057858411537),
)
# fmt: on
# The channels that count at each scale: the weights of the others are below 0.003. At 1/32 none counts.
CHANNELS = (slice(1, 2), slice(0, 2), slice(0, 2), slice(0, 3), slice(0, 3))


def to_linear(picture: Tensor) -> Tensor:
    """sRGB in -1..1 -> linear light in 0..1; values outside count as the nearest inside."""
    value = ((picture + 1) / 2).clamp(0, 1)
    curve = ((value.clamp(min=KNEE) + 0.055) / 1.055) ** 2.4
    return torch.where(value > KNEE, curve, value / 12.92)


def to_xyb(linear: Tensor, channels: slice = slice(0, 3)) -> Tensor:
    """Linear light (B, 3, H, W) -> channels of XYB, scaled and shifted to positive values as SSIMULACRA2 does."""
    rows = FROM_ROOTS[channels]
    cones = max(1 + cone for row in rows for cone in range(3) if row[cone])  # the last one is for B alone
    roots = absorbed(linear, cones).clamp(min=DARKEST) ** (1 / 3) - BIAS ** (1 / 3)
    parts = mixed(roots, tuple(row[:cones] for row in rows)).unbind(1)
    return torch.stack([part + shift for part, shift in zip(parts, SHIFT[channels], strict=True)], 1)


def absorbed(linear: Tensor, cones: int = 3) -> Tensor:
    """Linear light (B, 3, H, W) -> what the first of the long, medium and short cones absorb of it."""
    return mixed(linear, ABSORBANCE[:cones]) + BIAS


def mixed(picture: Tensor, matrix: Matrix, transposed: bool = False) -> Tensor:
    """The channels of a picture (B, C, H, W) multiplied by a matrix (D, C), or by the transpose of a (C, D) one."""
    rows = tuple(zip(*matrix, strict=True)) if transposed else matrix
    if picture.device.type == "cpu":  # takes a tenth of the time; a CUDA graph may not copy a matrix to its GPU
        with torch.autocast("cpu", enabled=False):
            return torch.matmul(picture.new_tensor(rows), picture.flatten(2)).unflatten(2, picture.shape[2:])
    parts, mixtures = picture.unbind(1), []
    for row in rows:
        (factor, first), *others = ((factor, part) for factor, part in zip(row, parts, strict=True) if factor)
        total = factor * first
        for factor, part in others:
            total = torch.add(total, part, alpha=factor)
        mixtures.append(total)
    return torch.stack(mixtures, dim=1)
