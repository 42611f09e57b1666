from pathlib import Path

import numpy as np
import pytest
import torch

from lapic.bitstream import read
from lapic.codec.decode import decoder
from lapic.codec.defaults import DEFAULT_MODEL
from lapic.codec.encode import encoder
from lapic.codec.metrics import psnr
from lapic.codec.model.codec_weights import load
from lapic.codec.model.shipped import WEIGHTS
from lapic.codec.model.weights_file import read_weights
from lapic.training import export
from lapic.training.entropy import EntropyOptions, TrainableEntropy, recipe
from lapic.training.export import export_checkpoint, trainable
from lapic.training.hyper import HyperSynthesis
from lapic.training.latents import LatentCrops, analysed
from lapic.training.loop import train
from lapic.training.rate_distortion import TrainableCodec
from tests.conftest import EXAMPLES


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a run of a few steps."""
    out = tmp_path_factory.mktemp("entropy")
    options = EntropyOptions(
        data=EXAMPLES, out=out / "run", steps=4, batch=2, patch=64, decay=1, log_every=1, warmup=1,
        accelerator="cpu", learning_rate=1e-3, average=0.0,
    )  # fmt: skip
    train(options, lambda part: recipe(options, part))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "lapic.training.calibration.DEFAULT_EFFORT", 1
        )  # one step of search makes the same kind of tables
        return export_checkpoint(out / "run" / "checkpoint.pt", "mine", folder=out, crops=2)[0]


def test_only_the_entropy_model_changes(exported: Path) -> None:
    old, before = read_weights(WEIGHTS / f"{DEFAULT_MODEL}.safetensors")
    new, after = read_weights(exported)
    assert before["id"] != after["id"]
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert "integers.point3.weight" in changed
    kept = (
        "transforms.analysis.",
        "transforms.synthesis.",
        "transforms.log_gain",
        "scales.analysis.",
        "scales.synthesis.",
    )
    assert not [name for name in changed if name.startswith(kept)]


def test_the_new_model_codes_pictures_as_well(exported: Path, coffee: np.ndarray) -> None:
    model = load(str(exported))
    found = decoder.decode_pixels(model, *read(encoder.encode_pixels(model, coffee, 60)))
    old = decoder.decode_pixels(load(), *read(encoder.encode_pixels(load(), coffee, 60)))
    assert psnr(coffee, found) == pytest.approx(psnr(coffee, old), abs=0.3)


def test_it_gives_the_bits_of_files(coffee: np.ndarray) -> None:
    codec, _ = trainable(DEFAULT_MODEL)
    model = TrainableEntropy(codec.config, (load().threshold, load().centroid))
    model.load_state_dict(codec.state_dict())
    picture = coffee[:192, :256].copy()
    latent, quality = analysed(load(), picture)[None].view(torch.int16), torch.tensor([256 * 40])
    bpp = model(latent, quality)
    bpp.sum().backward()
    learned = [name for name, value in model.named_parameters() if value.grad is not None]
    assert {name.split(".")[0] for name in learned} == {"transforms", "hyper_synthesis", "density"}
    assert not [name for name in learned if ("analysis" in name and "hyper" not in name) or "synthesis.l" in name]
    with torch.no_grad():
        plain = model.eval()(latent, quality)
    in_file = 8 * len(encoder.encode_pixels(load(), picture, 40)) / (192 * 256)
    assert plain.item() == pytest.approx(in_file, rel=0.1)
    model.rounding = None
    with torch.no_grad():
        gained = latent.view(torch.float16).float() * model.transforms.gain(quality)
        _, bits_y, bits_z = model.entropy(gained, quality)
    rounded = (bits_y + bits_z).item() / (192 * 256)
    noise = 0.25 * codec.config.latent / 256  # bits that a silent latent pays for noise in place of rounding
    assert plain.item() < rounded < bpp.item() < rounded + noise


def test_crops_are_cut_from_what_is_analysed_once(coffee: np.ndarray) -> None:
    latent = analysed(load(), coffee)
    assert latent.shape == (load().config.latent, -(-coffee.shape[0] // 16), -(-coffee.shape[1] // 16))
    crops = LatentCrops([latent], edge=4, seed=3)
    batch = crops.batch(5, 2)
    assert torch.equal(batch, LatentCrops([latent], edge=4, seed=3).batch(5, 2))
    assert not torch.equal(batch, crops.batch(6, 2))
    windows = latent.unfold(1, 4, 1).unfold(2, 4, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    assert all((windows == crop).flatten(1).all(1).any() for crop in batch)


def test_the_quick_twin_is_near_the_exact_one() -> None:
    codec, _ = trainable(DEFAULT_MODEL)
    twin: HyperSynthesis = codec.hyper_synthesis
    z = (2 * torch.randn(1, codec.config.hyper, 3, 3, generator=torch.Generator().manual_seed(0))).round()

    def code_pass(part, mean: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(mean)

    quality = torch.tensor([256 * 40])
    exact, quick = (twin(z, quality, code_pass, quick) for quick in (False, True))
    assert (exact.mean - quick.mean).abs().max() <= 1
    assert (exact.index - quick.index).abs().max() <= 1


def test_the_weights_between_the_start_and_the_end(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of an entropy model started from --model: it can be interpolated, and another from there is beside it."""
    checkpoint = exported.parent / "run" / "checkpoint.pt"
    seen: list[TrainableCodec] = []

    def stop(average: TrainableCodec, *given: object, **settings: object) -> None:
        seen.append(average)
        raise ValueError("enough")

    monkeypatch.setattr(export, "calibrate", stop)
    for interpolate in (1.0, 0.5):
        with pytest.raises(ValueError, match="enough"):
            export_checkpoint(checkpoint, "m", None, tmp_path, 2, interpolate, beside=[checkpoint])
    end, middle = (model.hyper_synthesis.parameters_by_name["point3_weight"] for model in seen)
    start = trainable(DEFAULT_MODEL)[0].hyper_synthesis.parameters_by_name["point3_weight"]
    assert not torch.equal(start, end)
    assert torch.allclose(middle, (start + end) / 2, atol=1e-6)
