from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapic.codec.compat import import_torchvision
from tests.conftest import EXAMPLES


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


@pytest.fixture(scope="session")
def coffee() -> np.ndarray:
    """A photo of 280 x 200 pixels."""
    return np.asarray(Image.open(EXAMPLES / "coffee.png").convert("RGB"))[:200, :280]
