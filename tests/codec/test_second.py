"""The second generation of networks, with random weights behind the KLT."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import lapic
from lapic.bitstream import read
from lapic.codec.decode import decoder
from lapic.codec.decode.decoder import View
from lapic.codec.encode import encoder
from lapic.codec.encode.encoder import encode_pixels
from lapic.codec.evaluation.cost import cost
from lapic.codec.metrics import psnr
from lapic.codec.model.codec_weights import Model, load
from lapic.codec.model.weights_file import save
from lapic.codec.nets import levels, second, strips
from lapic.codec.nets.config import SECOND, Config
from lapic.codec.nets.pyramid import reduce
from lapic.codec.picture import tensors
from lapic.codec.threads import in_threads, threads_for
from lapic.training.calibration import calibrate
from lapic.training.data import Crops
from lapic.training.initial import initialise
from lapic.training.rate_distortion import TrainableCodec, normalise
from tests import reference_pixels
from tests.conftest import EXAMPLES

TINY = Config(
    generation=2, latent=96, hyper=8, coarse=32, fine=16, wide=24, renderer=8, coarse_blocks=2, fine_blocks=2,
    more_coarse=1, hyper_wide=16, hyper_narrow=16, context=12, context_inner=8,
)  # fmt: skip


def weights(config: Config, path: Path, spread: float = 0.004) -> Path:
    """A weights file of a codec that starts as the KLT, with random last layers and fitted tables."""
    torch.manual_seed(0)
    pixels = torch.from_numpy(Crops(EXAMPLES, 64).batch(0, 200))
    model = TrainableCodec(config).eval()
    initialise(model, normalise(pixels))
    nets = model.transforms
    with torch.no_grad():
        for last in (nets.analysis.leave, nets.synthesis.leave, nets.synthesis.condition):
            last.weight.normal_(0, spread)
        for level in nets.synthesis.body_levels:
            level.table.normal_(0, 0.1)
        tables, centroid = calibrate(model, pixels[:8])
    integers, density = model.hyper_synthesis.integers(), model.density.state_dict()
    save(path, config, nets, integers, tables, centroid, torch.ones_like(nets.log_gain), density, {})
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weights(TINY, tmp_path_factory.mktemp("second") / "tiny.safetensors")


@pytest.fixture(scope="module")
def model(file: Path) -> Model:
    return load(str(file), dtype=torch.float32)


@pytest.fixture(scope="module")
def pixels(photo: Image.Image) -> np.ndarray:
    return np.asarray(photo)[60:243, 50:301]  # 251 x 183


def decode(model: Model, data: bytes, **view: Any) -> np.ndarray:
    return decoder.decode_pixels(model, *read(data), View(**view))


def test_pixels_are_grouped_and_put_back() -> None:
    picture = torch.arange(2 * 3 * 32 * 48).reshape(2, 3, 32, 48)
    grouped = second.to_latents(picture)
    assert grouped.shape == (2, 2, 3, 768)
    assert torch.equal(second.to_picture(grouped), picture)
    row, column, colour = 13, 6, 2  # in the cell (3, 1) of a latent, there in row 1 and column 2
    assert grouped[1, 1, 2, (3 * 4 + 1) * 48 + (1 * 4 + 2) * 3 + colour] == picture[1, colour, 16 + row, 32 + column]
    cells = torch.arange(2 * 8 * 12 * 5).reshape(2, 8, 12, 5)
    assert torch.equal(second.spread(second.gather(cells, 4), 4), cells)


def test_before_training_it_is_a_transform_codec() -> None:
    made = torch.from_numpy(Crops(EXAMPLES, 64).batch(0, 200))
    codec = TrainableCodec(TINY).eval()
    assert initialise(codec, normalise(made)) > 0.98
    with torch.no_grad():
        decoded = codec(made[:8], torch.full((8,), 25600)).picture
    assert (decoded - normalise(made[:8])).square().mean() * 127.5**2 < 60


def test_files_show_the_picture(model: Model, pixels: np.ndarray) -> None:
    small, large = (encode_pixels(model, pixels, quality) for quality in (20, 90))
    assert len(small) < len(large)
    assert psnr(pixels, decode(model, small)) + 2 < psnr(pixels, decode(model, large))
    grey = encode_pixels(model, pixels[..., 0], 60)
    assert decode(model, grey).shape == pixels.shape[:2]


def test_the_search_makes_better_files(model: Model, pixels: np.ndarray) -> None:
    plain, searched = (encode_pixels(model, pixels, 50, effort=effort) for effort in (0, 3))
    assert len(searched) < len(plain)
    assert psnr(pixels, decode(model, searched)) > psnr(pixels, decode(model, plain)) - 0.3
    assert b"filt" not in read(searched)[0].chunks  # this model has none


def test_effort_1_fits_a_filter_alone(photo: Image.Image) -> None:
    plain, filtered = (read(lapic.encode(photo, model="fast", effort=effort)) for effort in (0, 1))
    assert [tile.payload for tile in filtered[1]] == [tile.payload for tile in plain[1]]
    assert b"filt" in filtered[0].chunks.keys() - plain[0].chunks.keys()
    shown = [decoder.decode_pixels(load("fast"), *one) for one in (plain, filtered)]
    error = [np.square(one - np.asarray(photo, float)).mean() for one in shown]
    assert error[1] < error[0]


def test_pieces_and_tiles_have_no_seams(model: Model, pixels: np.ndarray) -> None:
    data = encode_pixels(model, pixels, 80, tile=64)
    whole, pieces = (decode(model, data, piece=piece).astype(int) for piece in (128, 3))
    assert np.abs(whole - pieces).max() <= 1
    whole, pieces = (dict(encoder.analyse(model, pixels, 64, piece=piece)) for piece in (0, 4))
    assert all(torch.allclose(whole[rect], pieces[rect], atol=1e-3) for rect in whole)


def test_crops_and_smaller_pictures(model: Model, pixels: np.ndarray) -> None:
    data = encode_pixels(model, pixels, 80)
    whole = decode(model, data)
    crop = decode(model, data, crop=(37, 20, 90, 70))
    assert np.abs(crop.astype(int) - whole[20:90, 37:127]).max() <= 1
    picture = tensors.to_picture(torch.from_numpy(np.ascontiguousarray(whole)))
    for scale in (2, 4, 8):
        picture = reduce(picture)
        small = decode(model, data, scale=scale).astype(int)
        expected = tensors.to_pixels(picture[0], 3).numpy()
        assert small.shape == expected.shape
        assert np.abs(small - expected).mean() < 1  # the decoder reduces before it rounds, and what lies in the padding


@pytest.mark.parametrize("scale", [1, 4])
def test_the_reference_decoder_makes_the_same_pixels(file: Path, model: Model, pixels: np.ndarray, scale: int) -> None:
    data = encode_pixels(model, pixels, 70, tile=64)
    found = reference_pixels.decode(data, load_file(file), scale)
    assert np.abs(found.astype(int) - decode(model, data, scale=scale)).max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 3])
def test_strips_make_the_picture(file: Path, dtype: torch.dtype, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    synthesis = load(str(file), dtype=dtype).transforms.synthesis
    monkeypatch.setattr(second, "STRIP", 20)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    latent, quality = torch.randn(2, 96, 7, 5), torch.tensor([5000, 20000])
    with torch.enable_grad():
        whole = synthesis.picture(latent, quality)
    with torch.inference_mode():
        strips = synthesis.picture(latent, quality)
    assert strips.shape == (2, 3, 112, 80)
    assert torch.allclose(whole, strips, atol=2e-2 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("free", [False, True])
def test_networks_in_strips_are_those_of_the_whole(file: Path, free: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where places of a picture differ in quality."""
    transforms = load(str(file), dtype=torch.float32).transforms
    monkeypatch.setattr(strips, "STRIP", 1)
    monkeypatch.setattr(strips, "ROWS", 2)
    torch.manual_seed(4)
    picture = (2 * torch.rand(1, 3, 144, 80) - 1).contiguous(memory_format=torch.channels_last)
    latent, quality = torch.randn(1, 9, 5, 96), torch.randint(256, 20000, (1, 9, 5))
    with torch.enable_grad():
        whole = transforms.analysis(picture), transforms.synthesis.features(latent, quality)
    taken: list[int] = []
    monkeypatch.setattr(strips, "in_threads", lambda work, items: taken.append(len(items)) or in_threads(work, items))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2 if free else 1)
    with torch.inference_mode():
        found = transforms.analysis(picture), transforms.synthesis.features(latent, quality)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(whole, found, strict=True))
    assert min(taken) > 1
    assert len(taken) == 8 + (0 if free else 3)  # layers of the analysis, and of the body, on which no symbols depend


def test_half_precision_costs_less_than_a_grey_level(file: Path, model: Model, pixels: np.ndarray) -> None:
    data = encode_pixels(model, pixels, 95)
    halves = decode(load(str(file), dtype=torch.bfloat16), data).astype(int)
    error = np.abs(halves - decode(model, data))
    assert error.max() <= 3
    assert error.mean() < 0.3


def test_gradients_are_those_of_the_whole_synthesis(file: Path) -> None:
    """In bfloat16 too, where the linear path computes its gradient in that."""
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        synthesis = load(str(file), dtype=dtype).transforms.synthesis
        torch.manual_seed(1)
        latent, error = torch.randn(1, 96, 4, 4).requires_grad_(), torch.randn(1, 3, 64, 64)
        quality = levels.fixed_point(40, torch.device("cpu"))
        (gradient,) = torch.autograd.grad(synthesis.picture(latent, quality), latent, error)
        found.append(gradient.flatten())
    assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.999


def test_a_pattern_is_what_a_latent_adds(model: Model) -> None:
    synthesis = model.transforms.synthesis
    latent = torch.zeros(1, 96, 1, 1)
    latent[0, 5] = 1
    linear, _ = synthesis.parts(latent, levels.fixed_point(40, torch.device("cpu")))
    assert torch.allclose(synthesis.patterns()[5], linear[0], atol=1e-6)


def test_it_is_as_small_as_it_should_be(tmp_path: Path) -> None:
    found = cost(load(str(weights(SECOND, tmp_path / "second.safetensors"))))
    assert found["synthesis"] < 4.8
    assert found["hyper-synthesis"] < 1.3
    assert found["decode"] <= 6
    assert found["encode"] < 30


def test_work_in_threads_is_done_once_and_errors_come_back() -> None:
    done: list[int] = []
    with threads_for(2):
        in_threads(done.append, range(20))
    assert sorted(done) == list(range(20))

    def fail(item: int) -> None:
        raise ValueError(f"item {item}")

    with threads_for(2), pytest.raises(ValueError, match="item"):
        in_threads(fail, range(4))
