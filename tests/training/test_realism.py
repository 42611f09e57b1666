import copy
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from lapic.bitstream import Error, read
from lapic.codec.cli import main
from lapic.codec.decode import decoder, realism
from lapic.codec.decode.decoder import View
from lapic.codec.defaults import DEFAULT_MODEL
from lapic.codec.encode import encoder
from lapic.codec.encode.rate import cost_of, error_weight, symbol_bits
from lapic.codec.model import translator_weights
from lapic.codec.model.codec_weights import Model, load
from lapic.codec.model.shipped import WEIGHTS
from lapic.codec.nets.translator import Translator
from lapic.training.export import export_translator
from lapic.training.latents import encode
from lapic.training.loop import train
from lapic.training.perceptual import Perceptual
from lapic.training.rate_distortion import normalise
from lapic.training.realism import RealismOptions, TrainableFinisher, decode_frozen, recipe, validate
from tests.conftest import EXAMPLES

STEPS = 3


def digest(model: Model) -> str:
    """Of all that the codec computes with."""
    tensors = [*model.transforms.state_dict().values(), *model.integers.values()]
    return hashlib.sha256(b"".join(tensor.float().numpy().tobytes() for tensor in tensors)).hexdigest()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, coffee: np.ndarray) -> Path:
    """A run of a few steps that leaves the codec's weights and bitstreams as they were."""
    out = tmp_path_factory.mktemp("realism")
    options = RealismOptions(
        data=EXAMPLES, out=out, steps=STEPS, batch=2, patch=64, decay=1, log_every=1, warmup=1, lpips=0.0,
        precision="32-true", accelerator="cpu", learning_rate=1e-2,
    )  # fmt: skip
    before, data = digest(load()), encoder.encode_pixels(load(), coffee, 30)
    train(options, lambda part: recipe(options, part))
    assert digest(load()) == before
    assert encoder.encode_pixels(load(), coffee, 30) == data
    return out


@pytest.fixture
def realistic(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The shipped codec in float32 with the run's weights as its realistic decoder."""
    export_translator(run / "checkpoint.pt", tmp_path / f"{DEFAULT_MODEL}.safetensors")
    monkeypatch.setattr(realism, "REALISM", tmp_path)
    return load(dtype=torch.float32)


def test_the_losses_are_logged(run: Path) -> None:
    rows = (run / "train.csv").read_text().splitlines()
    columns = rows[0].split(",")
    assert {"loss", "rmse", "gan_loss", "discriminator_loss", "accuracy"} <= set(columns)
    assert len(rows) == STEPS + 1
    assert 0 <= float(rows[-1].split(",")[columns.index("accuracy")]) <= 1


def test_one_file_two_looks_and_all_between(realistic: Model, coffee: np.ndarray) -> None:
    header, tiles = read(encoder.encode_pixels(realistic, coffee, 20, tile=64))
    looks = [decoder.decode_pixels(realistic, header, tiles, View(realism=r)).astype(int) for r in (0, 0.1, 0.5, 1)]
    away = [np.abs(look - looks[0]).mean() for look in looks]
    assert away[0] == 0
    assert away[0] < away[1] < away[2] < away[3]
    assert np.array_equal(decoder.decode_pixels(realistic, header, tiles), looks[0])


def test_a_realistic_decode_in_pieces_shows_no_seam(realistic: Model, coffee: np.ndarray) -> None:
    header, tiles = read(encoder.encode_pixels(realistic, coffee, 20))
    whole = decoder.decode_pixels(realistic, header, tiles, View(realism=1)).astype(int)
    pieces = decoder.decode_pixels(realistic, header, tiles, View(realism=1, piece=3))
    assert np.abs(whole - pieces).max() <= 1
    crop = decoder.decode_pixels(realistic, header, tiles, View(realism=1, crop=(37, 50, 90, 61)))
    assert np.abs(whole[50:111, 37:127] - crop).max() <= 1
    for scale in (2, 4, 8):
        assert decoder.decode_pixels(realistic, header, tiles, View(scale, realism=1)).shape[0] == -(-200 // scale)


def test_behind_the_second_generation_it_sees_the_body(
    coffee: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its features lie at 1/16 of the size: a change of one changes its own 16 x 16 pixels, and no piece shows a
    seam."""
    model = load("fast", dtype=torch.float32)
    torch.manual_seed(0)
    net = Translator(realism.config_for(model.config))
    torch.nn.init.normal_(net.leave.weight, std=0.01)
    features = torch.randn(1, model.config.coarse, 3, 4)
    changed = features.clone()
    changed[:, :, 1, 2] += 1
    where = (net.seen(changed) != net.seen(features)).any(1)[0].nonzero()
    assert where.unique(dim=0).tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]
    translator_weights.save(tmp_path / "fast.safetensors", net, {"model": model.identity.hex()})
    monkeypatch.setattr(realism, "REALISM", tmp_path)
    header, tiles = read(encoder.encode_pixels(model, coffee, 20, effort=0))
    whole = decoder.decode_pixels(model, header, tiles, View(realism=1)).astype(int)
    assert np.abs(whole - decoder.decode_pixels(model, header, tiles)).mean() > 1
    assert np.abs(whole - decoder.decode_pixels(model, header, tiles, View(realism=1, piece=3))).max() <= 1


@pytest.mark.parametrize(("name", "effort"), [(DEFAULT_MODEL, 0), (DEFAULT_MODEL, 2), ("fast", 0), ("fast", 2)])
def test_training_decodes_as_the_decoder_does(coffee: np.ndarray, name: str, effort: int) -> None:
    model = load(name, dtype=torch.float32)
    part = torch.from_numpy(coffee[:192, :256].copy()).permute(2, 0, 1)[None]
    found, _, _ = decode_frozen(model, part, torch.tensor([40 * 256]), effort)
    header, tiles = read(encoder.encode_pixels(model, coffee[:192, :256], 40, effort=effort))
    header = dataclasses.replace(header, chunks={})  # realism is trained without the picture's own filter
    expected = decoder.decode_pixels(model, header, tiles)
    found = ((found[0] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() <= 1


def test_latents_of_several_qualities_are_searched_together(coffee: np.ndarray) -> None:
    model = load(dtype=torch.float32)
    parts = torch.from_numpy(np.stack([coffee[:128, :128], coffee[:128, 128:256]])).permute(0, 3, 1, 2)
    quality = torch.tensor([15 * 256, 60 * 256])
    costs = []
    for effort in (0, 2):
        coded = encode(model, parts, quality, effort)[0].coded
        errors = (decode_frozen(model, parts, quality, effort)[0] - normalise(parts)).square().sum((1, 2, 3))
        bits = cost_of(symbol_bits(model.tables), coded.symbol, coded.index).sum((1, 2, 3))
        costs.append(error_weight(quality) * errors + bits)
    assert (costs[1] < costs[0]).all()


@pytest.mark.parametrize("name", [DEFAULT_MODEL, "fast"])
def test_an_untrained_one_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = TrainableFinisher(name)
    part = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    made, faithful, latent = model(part, torch.tensor([256, 12800]), 1.0)
    assert torch.allclose(made, faithful, atol=1e-5)
    assert latent.shape == (2, load(name).config.latent, 4, 4)


def test_validation_measures_and_shows(backbone: Path, tmp_path: Path) -> None:
    pictures = [torch.randint(0, 256, (3, 64, 128), dtype=torch.uint8) for _ in range(2)]
    model = TrainableFinisher(DEFAULT_MODEL)
    figures = validate(model, pictures, Perceptual(backbone), tmp_path)
    assert figures["score"] == pytest.approx(1, abs=1e-3)
    assert figures["psnr0@10"] < figures["psnr0@50"]
    assert figures["psnr1@30"] == pytest.approx(figures["psnr0@30"], abs=1e-3)
    with Image.open(tmp_path / "validation.png") as sheet:
        assert sheet.size == (3 * 128, 2 * 3 * 64)


def test_the_command_says_once_what_may_be_invented(realistic: Model, coffee: np.ndarray, tmp_path: Path) -> None:
    for name, quality in (("a", 20), ("b", 29), ("c", 60)):
        (tmp_path / f"{name}.lapic").write_bytes(encoder.encode_pixels(realistic, coffee[:64, :64], quality))

    def said(*arguments: str) -> int:
        found = CliRunner().invoke(main, ["decode", *arguments], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.output.count("may invent")

    names = [str(tmp_path / f"{name}.lapic") for name in "abc"]
    assert said(*names, str(tmp_path / "all") + "/", "--realism", "1") == 1
    assert said(names[0], str(tmp_path / "a.png"), "--realism", "0.8") == 1
    assert said(names[0], str(tmp_path / "a2.png"), "--realism", "0.4") == 0
    assert said(names[2], str(tmp_path / "c.png"), "--realism", "1") == 0
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "a2.png").read_bytes()


def test_the_codec_may_be_a_weights_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes((WEIGHTS / f"{DEFAULT_MODEL}.safetensors").read_bytes())
    made, _, _ = TrainableFinisher(str(path))(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.tensor([256]), 1.0)
    assert made.shape == (1, 3, 64, 64)


def test_weights_for_another_codec_are_refused(realistic: Model, coffee: np.ndarray) -> None:
    header, tiles = read(encoder.encode_pixels(realistic, coffee[:64, :64], 20))
    with pytest.raises(Error, match="no realistic decoder"):
        decoder.decode_pixels(dataclasses.replace(realistic, identity=b"else"), header, tiles, View(realism=1))
    with pytest.raises(ValueError, match="outside 0"):
        decoder.decode_pixels(realistic, header, tiles, View(realism=1.5))


def test_the_codec_is_loaded_once(tmp_path: Path) -> None:
    """Its file may be replaced while the run goes on."""
    path = tmp_path / "mine.safetensors"
    path.write_bytes((WEIGHTS / f"{DEFAULT_MODEL}.safetensors").read_bytes())
    model = TrainableFinisher(str(path))
    path.unlink()
    for one in (model, copy.deepcopy(model)):
        made, _, _ = one(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.tensor([256]), 1.0)
        assert made.shape == (1, 3, 64, 64)


def test_a_run_whose_codec_has_changed_does_not_go_on(run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    described = json.loads((run / "options.json").read_text())
    assert described["sha256"].keys() == {"model"}
    described["sha256"]["model"] = "0" * 64
    (tmp_path / "options.json").write_text(json.dumps(described))
    with pytest.raises(Error, match="the weights file of eye has changed since this run started"):
        recipe(RealismOptions(data=EXAMPLES, out=tmp_path, lpips=0.0))


def test_a_run_goes_on_with_the_network_that_it_starts_from(tmp_path: Path) -> None:
    """Also where a new one would get another shape; the resumed run needs no weights file for that."""
    codec = load()
    config = dataclasses.replace(realism.config_for(codec.config), widths=(8, 16), blocks=(1, 1))
    torch.manual_seed(0)
    net = Translator(config)
    torch.nn.init.normal_(net.leave.weight, std=0.01)
    weights = tmp_path / "narrow.safetensors"
    translator_weights.save(weights, net, {"model": codec.identity.hex()})
    options = RealismOptions(
        data=EXAMPLES, out=tmp_path / "run", init=str(weights), steps=1, batch=1, patch=64, decay=1, lpips=0.0,
        gan=False, precision="32-true", accelerator="cpu", learning_rate=0.0,
    )  # fmt: skip
    train(options, lambda part: recipe(options, part))
    weights.unlink()
    going_on = recipe(dataclasses.replace(options, steps=2)).models["model"]
    assert going_on.net.config == config
    export_translator(tmp_path / "run" / "checkpoint.pt", weights)
    found, _ = translator_weights.read(str(weights))
    assert found.config == config
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(found.parameters(), net.parameters(), strict=True))


def test_a_validation_without_its_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--validation measures by LPIPS: give --lpips a weight above 0"):
        recipe(RealismOptions(data=tmp_path, out=tmp_path, validation=EXAMPLES, lpips=0.0))


def test_a_validation_shows_pictures_of_several_sizes_at_the_models_qualities(tmp_path: Path) -> None:
    pictures = [torch.zeros(3, *size, dtype=torch.uint8) for size in ((64, 128), (128, 64))]
    figures = validate(TrainableFinisher("fast"), pictures, torch.nn.L1Loss(), tmp_path, (56,))
    assert list(figures) == ["score", "lpips0@56", "lpips1@56", "psnr0@56", "psnr1@56"]
    with Image.open(tmp_path / "validation.png") as sheet:
        assert sheet.size == (3 * 128, 64 + 128)


def test_realism_is_learned_at_the_qualities_of_its_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    monkeypatch.setattr("lapic.training.paired.perceptual", lambda options: torch.nn.L1Loss())
    monkeypatch.setattr("lapic.training.realism.start", lambda *_: {})
    monkeypatch.setattr("lapic.training.realism.validate", lambda *given: asked.append(given[-1]))
    (tmp_path / "held").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "held" / "one.png")
    common = dict(data=EXAMPLES, out=tmp_path, model="fast", patch=64)
    for of_model in ((1, 60), (20, 40), (56, 100)):
        monkeypatch.setattr("lapic.training.realism.of_model", lambda name, both=of_model: both)
        made = recipe(RealismOptions(**common, validation=tmp_path / "held"))
        assert made.validate is not None
        made.validate(made.models["model"])
    assert asked == [[10, 30, 50], [20, 30, 40], [56]]
    monkeypatch.setattr("lapic.training.realism.of_model", lambda name: (90, 98))
    with pytest.raises(ValueError, match="realism is learned up to quality 80: fast is for higher ones"):
        recipe(RealismOptions(**common, lpips=0.0))
