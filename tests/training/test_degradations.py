import numpy as np
import pytest
from PIL import Image

from lapic.codec.metrics import psnr
from lapic.training import degradations
from lapic.training.degradations import DEGRADATIONS, damage


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
        seen.append(psnr(pixels, found))
    assert all(10 < value < 60 for value in seen)
    assert name == "upscale" or max(seen) - min(seen) > 3


@pytest.mark.parametrize("task", DEGRADATIONS)
def test_one_pair_in_five_is_grey_on_both_sides(task: str, pixels: np.ndarray) -> None:
    grey = grain = 0
    for seed in range(60):
        damaged, clean = damage(pixels, task, np.random.default_rng(seed))
        assert damaged.shape == clean.shape == pixels.shape
        if np.ptp(clean, axis=2).max() == 0:
            assert np.ptp(damaged, axis=2).max() == 0
            grey += 1
        else:
            grain += not np.array_equal(clean, pixels)
            assert psnr(clean, pixels) > 28
    assert 4 < grey < 24
    assert (3 < grain < 30) == (task == "jpeg")


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
