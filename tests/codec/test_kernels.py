"""What kernels on a GPU compute, here by Triton's interpreter where there is none, beside the processor's way."""

import numpy as np
import pytest
import torch
from PIL import Image

from lapic import bitstream
from lapic.codec.encode import encoder
from lapic.codec.exact import context, hyper
from lapic.codec.model import latents
from lapic.codec.model.codec_weights import load
from lapic.codec.nets import levels
from lapic.codec.nets.config import SECOND, Config
from lapic.codec.nets.network import assemble
from lapic.codec.picture import tensors

pytest.importorskip("triton", reason="Triton is not installed: nothing can run the kernels")
from lapic.codec.exact import kernels
from lapic.codec.gpu import crc, synthesis

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("shapes", [((3, 4, 5), (7, 9, 11)), ((96, 2, 4), (384, 7, 13)), ((1, 0, 0), (1, 1, 1))])
def test_the_checksum_is_that_of_the_host(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    rng = np.random.default_rng(0)
    z = rng.integers(-63, 64, shapes[0]).astype(np.int8)
    symbols = rng.integers(-32767, 32768, shapes[1]).astype(np.int16)
    found = crc.symbols_crc(torch.from_numpy(z).to(DEVICE), torch.from_numpy(symbols).float().to(DEVICE))
    assert int(found) & 0xFFFFFFFF == bitstream.symbols_crc(z, symbols)


@pytest.mark.parametrize(("batch", "height", "width", "mapped"), [(1, 7, 9, False), (2, 8, 4, False), (1, 7, 9, True)])
def test_the_exact_networks_say_the_same(batch: int, height: int, width: int, mapped: bool) -> None:
    model, generator = load("photo", DEVICE), torch.Generator().manual_seed(0)
    rows, columns = -(-height // 4), -(-width // 4)
    z = torch.randint(-63, 64, (batch, model.config.hyper, rows, columns), generator=generator).float().to(DEVICE)
    symbols = torch.randint(-300, 301, (batch, model.config.latent, height, width), generator=generator).float()
    symbols, quality = symbols.to(DEVICE), torch.tensor([7000, 12345][:batch], device=DEVICE)

    if mapped:
        quality = quality + 256 * torch.randint(0, 3, (1, height, width), generator=generator).to(DEVICE)

    def run(arithmetic: hyper.Arithmetic) -> context.Coded:
        features = hyper.hyper_synthesis(z, quality, model.integers, arithmetic)[..., :height, :width]
        return context.run_passes(
            features, quality, model.integers, lambda part, *_: symbols[:, part.channels], arithmetic
        )

    expected, found = run(hyper.EXACT), run(kernels.DEVICE)
    assert torch.equal(expected.mean, found.mean)
    assert torch.equal(expected.index, found.index)
    assert expected.index.unique().numel() > 20


def test_the_exact_layers_run_where_their_numbers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels go to the current GPU, which may be another one."""
    within = kernels.torch.cuda.device_of
    asked: list[torch.Tensor] = []
    monkeypatch.setattr(kernels.torch.cuda, "device_of", lambda x: asked.append(x) or within(x))
    x = torch.zeros(1, 2, 3, 4, device=DEVICE)
    weights = {"a.weight": torch.ones(2, 9, device=DEVICE), "a.bias": torch.ones(2, device=DEVICE)}
    kernels.DEVICE.depth(x, weights, "a")
    kernels.DEVICE.activation(x)
    assert [one is x for one in asked] == [True, True]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Config(quarter=64), True),
        (Config(quarter=16, fine=32, coarse=64), True),
        (Config(quarter=48), False),  # no power of two
        (Config(quarter=8), False),  # too few for a product
        (Config(quarter=64, fine=96), False),
        (Config(quarter=64, fine=256), False),
        (Config(quarter=64, coarse=96), False),
        (Config(), False),
        (SECOND, False),
    ],
)
def test_the_kernels_are_for_some_widths(config: Config, expected: bool) -> None:
    assert synthesis.fusible(config) == expected


def test_the_fused_synthesis_makes_the_same_picture(photo: Image.Image) -> None:
    size = 21, 40
    exact, half = load("photo", DEVICE, torch.float32), load("photo", DEVICE, torch.float16)
    pixels, quality = np.asarray(photo)[100 : 100 + size[0], 100 : 100 + size[1]], levels.fixed_point(30, DEVICE)
    with torch.inference_mode():
        [(_, latent)] = encoder.analyse(exact, pixels, 0)
        coded = encoder.round_latents(exact, latent, quality).coded
        latent = latents.shown_latents(exact, coded) / exact.transforms.gain(quality)
        latent = latent.contiguous(memory_format=torch.channels_last)
        expected = assemble(*exact.transforms.synthesis(latent, quality))
        fused = synthesis.FusedSynthesis(half.transforms.synthesis)
        assert (fused(latent, quality, 0, size) - expected).abs().max() < 0.01
        for colours in (1, 3):
            shown = tensors.to_pixels(expected[0, :, : size[0], : size[1]], colours)
            found = fused(latent, quality, colours, size)
            assert found.shape == (*size, colours)
            assert (found.int() - shown.int()).abs().max() <= 1
