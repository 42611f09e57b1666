"""How far a decoded picture is from its original: PSNR, MS-SSIM, SSIMULACRA2, LPIPS, Butteraugli and FLIP, each by its
standard package or program."""

import io
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lapic.bitstream import Error
from lapic.codec.compat import import_torchvision
from lapic.codec.evaluation import butteraugli, metric
from lapic.codec.metrics import psnr

METRICS = tuple(one.name for one in metric.ALL)
LPIPS_NETS = {"squeeze": 17, "alex": 31, "vgg": 16}  # and the least edge of which their layers leave something
MS_SSIM_MIN_EDGE = 161  # four halvings of an 11-pixel window
BLOCK = 8  # edge below which SSIMULACRA2 and Butteraugli take all pictures for the same


def _tensor(pixels: NDArray[np.uint8]) -> Any:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in 0..255."""
    import torch

    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float()


def ms_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float | None:
    """Multi-scale structural similarity, 0..1 (Wang, Simoncelli, Bovik, Asilomar 2003), by pytorch-msssim over RGB.

    None when the shorter edge is below 161 pixels, where it is not defined.
    """
    from pytorch_msssim import ms_ssim as measure

    if min(a.shape[:2]) < MS_SSIM_MIN_EDGE:
        return None
    return float(measure(_tensor(a), _tensor(b), data_range=255))


def decibel(similarity: float) -> float:
    """MS-SSIM on the usual logarithmic scale, -10 log10(1 - MS-SSIM) dB."""
    return float(-10 * np.log10(max(1 - similarity, 1e-10)))


def ssimulacra2(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """SSIMULACRA2 (Sneyers, Cloudinary), by the package ssimulacra2: 100 is identical, 90 visually lossless, 70 high,
    50 medium and 30 low quality; may be negative."""
    from ssimulacra2 import compute_ssimulacra2

    files = []
    for pixels in (a, b):
        files.append(io.BytesIO())
        Image.fromarray(pixels).save(files[-1], "PPM")
    return float(compute_ssimulacra2(*files))


@lru_cache(maxsize=2)
def lpips_model(net: str = "squeeze", backbone: Path | None = None) -> Any:
    """The LPIPS model (Zhang et al., CVPR 2018, version 0.1) of the package lpips.

    Args:
        net: "squeeze", "alex" or "vgg"; figures of different nets do not compare.
        backbone: an .npz file of torchvision's feature layers under their names there (`features.0.weight` ...); None
            lets torchvision download them.

    Raises:
        Error: the backbone cannot be downloaded, or the file is none.
    """
    import torch

    import_torchvision()
    import lpips

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips asks torchvision for weights in a deprecated way
            model = lpips.LPIPS(net=net, pnet_rand=backbone is not None, verbose=False).eval()
        if backbone is not None:
            stored = np.load(backbone)
            names = {name: "features." + name.split(".", 1)[1] for name in model.net.state_dict()}
            model.net.load_state_dict({ours: torch.from_numpy(stored[theirs]) for ours, theirs in names.items()})
    except Exception as error:  # torchvision's download, and files of any kind, fail in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if backbone is not None:
            raise Error(f"{backbone} is no backbone of {net} ({reason})") from None
        raise Error(f"LPIPS has no backbone ({reason}): give one with --lpips-backbone") from None
    return model.requires_grad_(False)


def lpips(a: NDArray[np.uint8], b: NDArray[np.uint8], net: str = "squeeze", backbone: Path | None = None) -> float:
    """Learned perceptual distance, 0 is identical; see `lpips_model`."""
    return float(lpips_model(net, backbone)(_tensor(a) / 127.5 - 1, _tensor(b) / 127.5 - 1))


def flip(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Mean of the map of FLIP (Andersson et al., "FLIP: A Difference Evaluator for Alternating Images", HPG 2020), by
    the package flip-evaluator at its default of 67 pixels per degree: 0 is identical, 1 the most there is."""
    from flip_evaluator import evaluate

    pictures = [np.ascontiguousarray(pixels).astype(np.float32) / 255 for pixels in (a, b)]
    return float(evaluate(*pictures, "LDR", applyMagma=False)[1])


def usable(wanted: tuple[str, ...], net: str, backbone: Path | None, say: Callable[[str], None]) -> tuple[str, ...]:
    """Those of the wanted metrics that can be measured here.

    Args:
        net, backbone: of LPIPS, see `lpips_model`. say: hears a line on each that cannot.

    Raises:
        Error: a backbone is given and is none of the net.
    """

    def import_flip() -> None:
        try:
            import flip_evaluator  # noqa: F401
        except ImportError:
            raise Error("pip install flip-evaluator") from None

    checks = {"lpips": lambda: lpips_model(net, backbone), "butteraugli": butteraugli.find, "flip": import_flip}
    found = []
    for name in wanted:
        try:
            checks.get(name, lambda: None)()
            found.append(name)
        except (Error, ModuleNotFoundError) as reason:
            if name == "lpips" and backbone is not None and isinstance(reason, Error):
                raise
            say(f"{name} is skipped: {reason}")
    return tuple(found)


def all_metrics(
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    wanted: tuple[str, ...] = METRICS,
    net: str = "squeeze",
    backbone: Path | None = None,
) -> dict[str, float | None]:
    """The wanted metrics of two pictures (H, W, 3), and `ms_ssim_db` beside `ms_ssim`; None for those that are not
    defined for pictures as small as these.

    Raises:
        Error: the pictures differ in size, or LPIPS has no backbone.
    """
    if a.shape != b.shape:
        sizes = " and ".join(f"{p.shape[1]} x {p.shape[0]}" for p in (a, b))
        raise Error(f"the pictures differ in size: {sizes}")
    edge = min(a.shape[:2])
    found: dict[str, float | None] = {}
    if "psnr" in wanted:
        found["psnr"] = psnr(a, b)
    if "ms_ssim" in wanted:
        similarity = ms_ssim(a, b)
        found |= {"ms_ssim": similarity, "ms_ssim_db": None if similarity is None else decibel(similarity)}
    if "ssimulacra2" in wanted:
        found["ssimulacra2"] = ssimulacra2(a, b) if edge >= BLOCK else None
    if "lpips" in wanted:
        found["lpips"] = lpips(a, b, net, backbone) if edge >= LPIPS_NETS[net] else None
    if "butteraugli" in wanted:
        found["butteraugli"] = butteraugli.butteraugli(a, b) if edge >= BLOCK else None
    if "flip" in wanted:
        found["flip"] = flip(a, b)
    return found
