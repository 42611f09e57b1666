import numpy as np
import pytest
import torch
from PIL import Image

import bitstream
import codec
from bitstream.entropy import entropy_bits
from codec import decoder, encoder, hyper, search
from codec.metrics import psnr
from codec.model import load
from codec.network import assemble
from codec.search import rate_weight, symbol_bits
from tests.conftest import difference


def objective(image: Image.Image, data: bytes, quality: float) -> float:
    """lambda 255^2 MSE + bpp of a file."""
    pixels = image.width * image.height
    weight = rate_weight(hyper.fixed_point(quality, torch.device("cpu"))).item()
    return weight * 255**2 / 10 ** (psnr(image, codec.decode(data)) / 10) + 8 * len(data) / pixels


@pytest.mark.parametrize(("quality", "saved"), [(5, 0.005), (50, 0.015), (95, 0.015)])
def test_more_effort_makes_better_files(quality: float, saved: float, photo: Image.Image) -> None:
    costs = [objective(photo, codec.encode(photo, quality, effort=effort), quality) for effort in (0, 2, 5)]
    assert costs[1] < (1 - saved) * costs[0]
    assert costs[2] < costs[1]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_searched_file_decodes_like_any_other(mode: str, photo: Image.Image) -> None:
    image = photo.convert(mode).crop((0, 0, 200, 150))
    data = codec.encode(image, 40, tile=64, effort=2)
    assert bitstream.read(data)[0].tile == 64
    assert codec.decode(data).mode == mode
    plain = codec.encode(image, 40, tile=64, effort=0)
    assert psnr(image, codec.decode(data)) > psnr(image, codec.decode(plain)) - 0.05
    assert codec.encode(image, 40, tile=64, effort=2) == data


def test_tiles_are_searched_with_their_surroundings(large: Image.Image) -> None:
    """Many tiles cost little more than one and look alike: no tile is searched as if it ended at its border."""
    image = large.crop((0, 0, 512, 384))
    files = [codec.encode(image, 50, tile=tile, effort=3) for tile in (0, 128)]
    costs = [objective(image, data, 50) for data in files]
    assert costs[1] < 1.03 * costs[0]
    assert difference(*map(codec.decode, files)) < 60


def test_symbols_cost_what_the_coder_makes_of_them() -> None:
    tables = load().tables
    bits = symbol_bits(tables)
    assert (bits >= 0).all()
    assert bits[0, 0] == 0
    index = np.repeat(np.arange(1, 64, dtype=np.uint8), 16)[None, :, None]
    symbols = (np.random.default_rng(0).integers(-3, 4, index.shape)).astype(np.int16)
    expected = bits[torch.from_numpy(index).long(), torch.from_numpy(symbols).long().abs()].sum().item()
    z = np.zeros((tables.hyper.shape[1], 1, 1), np.int8)
    found = entropy_bits(tables, 0, z, symbols, index) - entropy_bits(tables, 0, z, 0 * symbols, 0 * index)
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("effort", [-1, 10])
def test_effort_has_a_range(effort: int, photo: Image.Image) -> None:
    with pytest.raises(ValueError, match="effort"):
        codec.encode(photo.crop((0, 0, 32, 32)), effort=effort)


def test_a_target_size_holds_with_effort(photo: Image.Image) -> None:
    data = codec.encode(photo.crop((0, 0, 160, 160)), size=2000, effort=1)
    assert 0.97 * 2000 < len(data) <= 2000


def test_the_search_sees_what_the_decoder_shows(photo: Image.Image) -> None:
    """Though its gradient leaves out the stage at 1/4, which would take a large part of a step."""
    nets, quality = load("photo", dtype=torch.float32).transforms, hyper.fixed_point(40, torch.device("cpu"))
    picture = encoder.to_picture(torch.from_numpy(np.asarray(photo)[100:196, 100:228].copy()))
    with torch.no_grad():
        gain = nets.gain(quality)
        latent = (nets.analysis(picture) * gain).round() / gain
    latent.requires_grad_()
    shown, whole = search._shown(nets.synthesis, latent, quality), assemble(*nets.synthesis(latent, quality))
    assert torch.allclose(shown, whole, atol=1e-5)
    felt = whole.detach() - picture
    (ours,), (true,) = (torch.autograd.grad(made, latent, felt) for made in (shown, whole))
    assert torch.nn.functional.cosine_similarity(ours.flatten(), true.flatten(), dim=0) > 0.9
    assert not torch.allclose(ours, true, rtol=1e-3)


def test_a_step_never_makes_it_worse(monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> None:
    """With every choice made wrong the search keeps what it had."""
    image = photo.crop((0, 0, 96, 96))
    plain = codec.encode(image, 50, effort=0)
    monkeypatch.setattr(search, "_cheapest", lambda wanted, *rest: wanted.round() + 7)
    assert codec.encode(image, 50, effort=2) == plain


def test_a_step_that_leads_astray_spoils_nothing(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """In half precision a wild latent may burst the picture around it, and the gradients with it."""
    model, pixels, calls = load("photo"), np.asarray(photo)[100:196, 100:228], []

    def bursting(*bands: object) -> torch.Tensor:
        calls.append(assemble(*bands))
        burst = torch.zeros_like(calls[-1])
        burst[..., 40:44, 60:64] = float("nan") if len(calls) == 1 else 1e30
        return calls[-1] + burst if len(calls) < 3 else calls[-1]

    whole = encoder.encode_pixels(model, pixels, 30, effort=2)
    monkeypatch.setattr(search, "assemble", bursting)
    data = encoder.encode_pixels(model, pixels, 30, effort=2)
    assert len(calls) == 3
    shown, expected = (decoder.decode_pixels(model, *bitstream.read(one)).astype(float) for one in (data, whole))
    assert np.square(shown - pixels).mean() < 1.1 * np.square(expected - pixels).mean()
    assert len(data) < 1.1 * len(whole)
