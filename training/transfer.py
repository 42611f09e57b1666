"""Adapt the realistic decoder of one codec to another, which was trained further from it or is of another generation.

The realistic decoder (codec.decode.realism) reads the synthesis' features by one pointwise convolution. Those of
another codec differ. A new pointwise convolution is fitted by least squares, over the same pictures at the same
qualities, to predict the old convolution's output from the new features. This needs no discriminator and takes a
minute (docs/notebook/realism.md).
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.decode import realism as realistic_decoder
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
        old, new: shipped names or weights files of codecs, of one generation or of two.
        data: folder of pictures. lowest, highest: qualities, 1..100, that the new codec is for.
        crops: how many crops of edge x edge pixels to fit to; edge is a multiple of 64.

    Returns:
        The fraction of the variance of the network's input that the new features leave unexplained, on crops left out
        of the fit: by the old convolution, 1 where it does not fit the new features, and by the new one.

    Raises:
        Error: a file cannot be read, is no realistic decoder, or is that of another codec than `old`; or `out` cannot
            be written.
        ValueError: `lowest` is above `highest`.
    """
    check_qualities(lowest, highest)
    files.check_absent(str(out), force=True)
    net, card = translator_weights.read(str(realistic))
    if not isinstance(net, Translator) or net.see is None:
        raise Error(f"{realistic} is not a realistic decoder")
    before, after = load(old, dtype=torch.float32), load(new, dtype=torch.float32)
    if card.get("model") != before.identity.hex():
        raise Error(f"{realistic} is the realistic decoder of another model than {before.name}")
    new_net = Translator(realistic_decoder.config_for(after.config, like=net.config))
    store = Crops(data, edge, seed=0)
    torch.manual_seed(0)
    pairs = []
    for number in range(crops):
        pixels = torch.from_numpy(store.batch(number, 1))
        quality = random_qualities(pixels, lowest, highest)
        _, features, _ = decode_frozen(before, pixels, quality)
        _, changed, _ = decode_frozen(after, pixels, quality)
        pairs.append((_with_ones(changed), _rows(F.pixel_unshuffle(net.seen(features), new_net.config.finer))))
    fitted = [pair for number, pair in enumerate(pairs) if (number + 1) % CHECKED]
    square = sum(x.T @ x for x, _ in fitted)
    ridge = RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    new_map = torch.linalg.solve(square + ridge, sum(x.T @ y for x, y in fitted))  # (C + 1, C')
    x, y = (torch.cat(parts) for parts in zip(*pairs[CHECKED - 1 :: CHECKED], strict=True))
    old_map = torch.cat([net.see.weight.detach().flatten(1).T, net.see.bias.detach()[None]]).double()
    see = {"see.weight": new_map[:-1].T[:, :, None, None].float(), "see.bias": new_map[-1].float()}
    new_net.load_state_dict(net.state_dict() | see)
    translator_weights.save(
        out, new_net, card | {"model": after.identity.hex(), "transferred": f"from {before.identity.hex()}"}
    )
    return _unexplained(x, y, old_map) if old_map.shape == new_map.shape else 1, _unexplained(x, y, new_map)


def _unexplained(x: Tensor, y: Tensor, linear: Tensor) -> float:
    """The fraction of the variance of y (n, C') that x (n, C) times a map (C, C') leaves."""
    return ((y - x @ linear).square().sum() / (y - y.mean(0)).square().sum()).item()


def _rows(features: Tensor) -> Tensor:
    """(1, C, h, w) -> (h w, C): a row for each place."""
    return features.detach()[0].flatten(1).T.double()


def _with_ones(features: Tensor) -> Tensor:
    """`_rows` with a 1 for the bias behind each, (h w, C + 1)."""
    rows = _rows(features)
    return torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], dim=1)
