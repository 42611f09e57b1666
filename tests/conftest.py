import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from lapic.codec.model.codec_weights import Model

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before the first import of Triton

# A shell starts what runs in the background with Ctrl-C ignored, which commands that tests interrupt would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def the_number_of_threads_is_kept() -> Iterator[None]:
    """Torch has as many threads after a test as before: more would compete with those of other tests."""
    before = torch.get_num_threads()
    yield
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == before


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A colour photo of odd size, 451 x 300."""
    with Image.open(EXAMPLES / "chelsea.png") as image:
        return Image.fromarray(np.asarray(image.convert("RGB")))  # without its ICC profile


@pytest.fixture(scope="session")
def large(photo: Image.Image) -> Image.Image:
    """A picture of 1000 x 700 that spans several tiles of 256."""
    return photo.resize((1000, 700), Image.Resampling.LANCZOS)


def difference(a: Image.Image, b: Image.Image) -> int:
    """The largest difference in grey levels between two images of the same size and mode."""
    assert a.size == b.size
    assert a.mode == b.mode
    return int(np.abs(np.asarray(a).astype(int) - np.asarray(b)).max())


def weights_file(model: Model) -> dict[str, np.ndarray]:
    """The tensors of a model that decide about symbols, by their names in a weights file."""
    integers = {f"integers.{name}": tensor.numpy() for name, tensor in model.integers.items()}
    lengths = np.array([len(table) for table in model.tables.latent])
    tables = {"hyper": model.tables.hyper, "latent": np.concatenate(model.tables.latent), "lengths": lengths}
    return integers | {f"tables.{name}": tensor for name, tensor in tables.items()}


def detail(image: Image.Image) -> float:
    """Mean magnitude of what a blur removes, in grey levels."""
    grey = image.convert("L")
    return float(np.abs(np.asarray(grey, float) - np.asarray(grey.filter(ImageFilter.GaussianBlur(1)))).mean())
