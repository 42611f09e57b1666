from pathlib import Path

import numpy as np
import pytest
import torch

from codec.compat import import_torchvision


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    """SqueezeNet's features with random weights."""
    import_torchvision()
    import lpips

    torch.manual_seed(0)
    net = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False).net.state_dict()
    path = tmp_path / "backbone.npz"
    np.savez(path, **{"features." + name.split(".", 1)[1]: value.numpy() for name, value in net.items()})
    return path
