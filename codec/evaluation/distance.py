"""How far two sets of pictures are from each other as distributions: FID and KID by torch-fidelity."""

from pathlib import Path
from pickle import UnpicklingError

from bitstream import Error
from codec.compat import import_torchvision
from codec.files import files_in, picture_suffixes


def fid_kid(a: Path, b: Path, inception: Path | None = None) -> dict[str, float]:
    """Frechet and kernel Inception distance of two folders (Heusel et al., NeurIPS 2017; Binkowski et al., ICLR 2018).

    Both compare features of the Inception network that torch-fidelity ports from the original FID code.

    Args:
        inception: that network's weights (pt_inception-2015-12-05-6726825d.pth); None lets torch-fidelity download
            them.

    Returns:
        fid, kid_mean and kid_std, the latter two over random subsets of at most 1000 pictures.

    Raises:
        Error: a folder has fewer than two pictures, or the weights cannot be had.
    """
    sizes = [len(list(files_in(folder, picture_suffixes()))) for folder in (a, b)]
    if min(sizes) < 2:
        raise Error(f"FID and KID need two pictures or more in each folder, here are {sizes[0]} and {sizes[1]}")
    import_torchvision()
    import torch
    import torch_fidelity

    if inception is not None:
        try:
            torch.load(inception, weights_only=True)  # torch-fidelity would run whatever is pickled in it
        except (OSError, EOFError, RuntimeError, ValueError, UnpicklingError):
            raise Error(f"{inception} holds no weights that can be read") from None
    try:
        found = torch_fidelity.calculate_metrics(
            input1=str(a),
            input2=str(b),
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
