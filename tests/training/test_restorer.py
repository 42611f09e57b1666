import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapic.codec.model.translator_weights import read
from lapic.codec.nets.translator import Translator, TranslatorConfig
from lapic.training import restoration
from lapic.training.export import export_translator
from lapic.training.loop import train
from lapic.training.restoration import RestorationOptions, recipe, root_mean_square
from lapic.training.whitening import WhitenedTranslator, basis
from tests.conftest import EXAMPLES

SMALL = TranslatorConfig(tasks=("a", "b"), widths=(16, 24), blocks=(1, 1))


def options(out: Path, **changes: object) -> RestorationOptions:
    base = RestorationOptions(
        data=EXAMPLES, out=out, steps=6, batch=2, patch=64, decay=1, log_every=3, warmup=2,
        precision="32-true", accelerator="cpu",
        widths=SMALL.widths, blocks=SMALL.blocks,
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


@pytest.fixture
def whitened() -> WhitenedTranslator:
    torch.manual_seed(0)
    net = WhitenedTranslator(SMALL).eval().requires_grad_(False)
    net.fit(2 * torch.rand(4, 3, 64, 64) - 1)
    for name, value in net.named_parameters():
        if "leave" in name or "table" in name:
            torch.nn.init.normal_(value, 0, 0.3)
    return net


def test_the_transform_is_orthonormal_and_knows_its_block() -> None:
    assert torch.allclose(basis() @ basis().T, torch.eye(48), atol=1e-5)
    flat = torch.nn.functional.pixel_unshuffle(torch.ones(1, 3, 4, 4), 4)[0, :, 0, 0]
    found = basis() @ flat
    assert found[0] == pytest.approx(48**0.5, rel=1e-5)
    assert found[1:].abs().max() < 1e-4


def test_whitened_pictures_have_about_unit_power(whitened: WhitenedTranslator) -> None:
    pictures = 2 * torch.rand(4, 3, 64, 64) - 1
    whitened.fit(pictures)
    blocks = torch.nn.functional.pixel_unshuffle(pictures, 4).transpose(0, 1).flatten(1)
    power = (whitened.gain[:, None] * (whitened.basis @ blocks)).square().mean(1)
    assert power.max() < 1
    assert power.min() > 0.9


def test_folding_changes_the_form_and_not_the_function(whitened: WhitenedTranslator) -> None:
    picture, task = 2 * torch.rand(2, 3, 48, 64) - 1, torch.tensor([0, 1])
    plain = whitened.fold()
    assert type(plain) is Translator
    expected = whitened(picture, task)
    assert (expected - picture).abs().max() > 0.05
    with torch.no_grad():
        assert torch.allclose(plain(picture, task), expected, atol=1e-4)
    other = WhitenedTranslator(SMALL).requires_grad_(False)
    other.gain.copy_(torch.rand(48) + 0.5)
    other.unfold(plain)
    assert torch.allclose(other(picture, task), expected, atol=1e-4)


def test_every_sample_has_an_equal_gradient() -> None:
    clean = torch.zeros(2, 3, 8, 8)
    shown = torch.stack([torch.full((3, 8, 8), 0.01), torch.full((3, 8, 8), 0.5)]).requires_grad_()
    total = root_mean_square(shown, clean)
    assert total.item() == pytest.approx(127.5 * 0.255, rel=0.01)
    total.backward()
    lengths = shown.grad.flatten(1).norm(dim=1)
    assert lengths[0] == pytest.approx(lengths[1].item(), rel=0.02)


def run(made: RestorationOptions) -> torch.nn.Module:
    return train(made, lambda part: recipe(made, part))


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_a_run_resumes_exactly_and_its_weights_ship(tmp_path: Path) -> None:
    whole = weights(run(options(tmp_path / "whole")))
    run(options(tmp_path / "parts", steps=4, decay=0))
    assert torch.equal(whole, weights(run(options(tmp_path / "parts", validation=EXAMPLES))))
    row = (tmp_path / "parts" / "validation.csv").read_text().splitlines()
    assert row[0].split(",")[2:] == ["score", *restoration.CASES]

    path = tmp_path / "weights" / "tiny.safetensors"
    export_translator(tmp_path / "whole" / "checkpoint.pt", path)
    net, card = read(str(path))
    assert card["steps"] == "6"
    assert net.config.widths == SMALL.widths
    run(options(tmp_path / "more", init=str(path), steps=1))
    prior = json.loads((tmp_path / "more" / "options.json").read_text())["prior_training"]
    assert prior["steps"] == 6
    with pytest.raises(ValueError, match="not a restorer of this size"):
        run(options(tmp_path / "other", init=str(path), tasks=("jpeg",)))


def test_learning_to_restore_works(tmp_path: Path) -> None:
    model = run(options(tmp_path, steps=150, decay=75, average=0.98, learning_rate=1e-3, batch=4, tasks=("denoise",)))
    picture = restoration.read_rgb(EXAMPLES / "coffee.png")[:128, :128]
    report = restoration.validate(model, [picture])
    assert list(report) == ["score", "noise25"]
    assert report["noise25"] > 3


def test_a_realistic_restorer_starts_from_a_faithful_one(tmp_path: Path, backbone: Path) -> None:
    more = {"gan": True, "lpips": 1.0, "backbone": backbone, "gan_weight": 0.1, "tasks": ("jpeg",), "widths": (96, 192)}
    run(options(tmp_path, init="jpeg", blocks=(2, 2), steps=2, log_every=1, **more))
    rows = [row.split(",") for row in (tmp_path / "train.csv").read_text().splitlines()]
    figures = dict(zip(rows[0], map(float, rows[1]), strict=True))
    assert figures["loss"] == pytest.approx(figures["rmse"] + figures["lpips"] + 0.1 * figures["gan_loss"], rel=1e-4)
    assert 0 <= figures["accuracy"] <= 1


def test_a_flat_picture_that_no_damage_changes_is_no_division_by_zero() -> None:
    model = restoration.TrainableRestorer(TranslatorConfig(tasks=("jpeg", "upscale"), widths=(16, 24), blocks=(1, 1)))
    report = restoration.validate(model, [np.full((64, 64, 3), 128, np.uint8)])
    assert all(abs(value) < 1e-3 for value in report.values()), report


def test_held_out_pictures_that_are_too_small_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (100, 15)).save(tmp_path / "flat.png")
    with pytest.raises(ValueError, match="edges of held-out pictures are of 16 pixels or more"):
        recipe(options(tmp_path / "run", validation=tmp_path))
