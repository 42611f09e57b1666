"""Adapt the realistic decoder of one codec to another that was trained further from it.

The realistic decoder (codec.decode.realism) reads the synthesis' features by one pointwise convolution. Further
training of the codec changes these features. A new pointwise convolution is fitted by least squares, over the same
pictures at the same qualities, to predict the old convolution's output from the new features. This needs no
discriminator and takes a minute (docs/notebook/realism.md).
"""

from pathlib import Path

import torch
from torch import Tensor

from lapic.bitstream import Error
from lapic.codec.model import translator_weights
from lapic.codec.model.codec_weights import load
from lapic.codec.nets.translator import Translator
from lapic.training.data import Crops
from lapic.training.rate_distortion import check_qualities, random_qualities
from lapic.training.realism import decode_frozen

CHECKED = 5  # every fifth crop is left out of the fit and measures it
RIDGE = 1e-9  # of the features' mean square


def transfer(
    old: str, new: str, realistic: Path, data: Path, out: Path,
    lowest: int = 1, highest: int = 100, crops: int = 160, edge: int = 192,
) -> tuple[float, float]:  # fmt: skip
    """Write the realistic decoder of the codec `old`, a weights file, as one for the codec `new`.

    Args:
        old, new: shipped names or weights files of codecs of the same shape.
        data: folder of pictures. lowest, highest: qualities, 1..100, that the new codec is for.
        crops: how many crops of edge x edge pixels to fit to; edge is a multiple of 64.

    Returns:
        The fraction, 0..1, of the variance of the network's input that the new features leave unexplained, on crops
        left out of the fit: by the old convolution and by the new one.

    Raises:
        Error: a file cannot be read, is no realistic decoder, or is that of another codec than `old`.
        ValueError: `lowest` is above `highest`.
    """
    check_qualities(lowest, highest)
    net, card = translator_weights.read(str(realistic))
    if not isinstance(net, Translator) or net.see is None:
        raise Error(f"{realistic} is not a realistic decoder")
    before, after = load(old, dtype=torch.float32), load(new, dtype=torch.float32)
    if card.get("model") != before.identity.hex():
        raise Error(f"{realistic} is the realistic decoder of another model than {before.name}")
    store = Crops(data, edge, seed=0)
    torch.manual_seed(0)
    pairs = []
    for number in range(crops):
        pixels = torch.from_numpy(store.batch(number, 1))
        quality = random_qualities(pixels, lowest, highest)
        _, features, _ = decode_frozen(before, pixels, quality)
        _, changed, _ = decode_frozen(after, pixels, quality)
        pairs.append((_rows(changed), net.see(features).detach()[0].flatten(1).T.double()))  # (n, C + 1), (n, C')
    fitted = [pair for number, pair in enumerate(pairs) if (number + 1) % CHECKED]
    square = sum(x.T @ x for x, _ in fitted)
    ridge = RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    new_map = torch.linalg.solve(square + ridge, sum(x.T @ y for x, y in fitted))  # (C + 1, C')
    x, y = (torch.cat(parts) for parts in zip(*pairs[CHECKED - 1 :: CHECKED], strict=True))
    old_map = torch.cat([net.see.weight.detach().flatten(1).T, net.see.bias.detach()[None]]).double()
    unexplained = [
        ((y - x @ linear).square().sum() / (y - y.mean(0)).square().sum()).item() for linear in (old_map, new_map)
    ]
    with torch.no_grad():
        net.see.weight.copy_(new_map[:-1].T[:, :, None, None])
        net.see.bias.copy_(new_map[-1])
    translator_weights.save(
        out, net, card | {"model": after.identity.hex(), "transferred": f"from {before.identity.hex()}"}
    )
    return unexplained[0], unexplained[1]


def _rows(features: Tensor) -> Tensor:
    """(1, C, h, w) -> (h w, C + 1): a row for each place, with a 1 for the bias."""
    rows = features[0].flatten(1).T.double()
    return torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], dim=1)
