import numpy as np
import pytest
from PIL import Image

from codec.metrics import psnr
from training import degradations
from training.degradations import DEGRADATIONS


@pytest.fixture(scope="module")
def pixels(photo: Image.Image) -> np.ndarray:
    return np.asarray(photo)[40:168, 100:260]


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_damage_keeps_the_shape_and_follows_the_generator(name: str, pixels: np.ndarray) -> None:
    seen = []
    for seed in range(12):
        found = DEGRADATIONS[name](pixels, np.random.default_rng(seed))
        assert (found.shape, found.dtype) == (pixels.shape, np.uint8)
        assert np.array_equal(found, DEGRADATIONS[name](pixels, np.random.default_rng(seed)))
        seen.append(psnr(pixels, found) if not np.array_equal(found[..., 0], found[..., 1]) else None)
    coloured = [value for value in seen if value is not None]
    assert all(10 < value < 60 for value in coloured)
    assert name == "upscale" or max(coloured) - min(coloured) > 3


def test_jpeg_is_sometimes_grey_and_sometimes_double(pixels: np.ndarray) -> None:
    grey = [np.ptp(degradations.jpeg(pixels, np.random.default_rng(seed)), axis=2).max() == 0 for seed in range(60)]
    assert 5 < sum(grey) < 30


def test_noise_has_the_wanted_strength(pixels: np.ndarray) -> None:
    flat = np.full((200, 200, 3), 128, np.uint8)
    found = degradations.gaussian_noise(flat, 25, np.random.default_rng(0))
    assert np.std(found.astype(float)) == pytest.approx(25, rel=0.02)


def test_resize_blur_is_bicubic_there_and_back(pixels: np.ndarray) -> None:
    small = Image.fromarray(pixels).resize((80, 64), Image.Resampling.BICUBIC)
    expected = np.asarray(small.resize((160, 128), Image.Resampling.BICUBIC))
    assert np.array_equal(degradations.half_size(pixels, np.random.default_rng(0)), expected)


def test_a_wider_blur_takes_more_away(pixels: np.ndarray) -> None:
    values = [psnr(pixels, degradations.gaussian_blur(pixels, sigma)) for sigma in (0.5, 1, 2, 3)]
    assert values == sorted(values, reverse=True)
