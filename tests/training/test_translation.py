from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import lapic
from lapic.codec.decode.realism import REALISM
from lapic.codec.model.translator_weights import read, save
from lapic.codec.nets.lptn import LPTN
from lapic.training import adversarial, perceptual, run_files
from lapic.training.adversarial import (
    MultiScaleDiscriminator,
    accuracy,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from lapic.training.cli import main
from lapic.training.data import read_pair
from lapic.training.grey import fit_factor
from lapic.training.paired import periodic_artefacts
from lapic.training.perceptual import gram
from lapic.training.translation import TranslationOptions, recipe
from tests.conftest import EXAMPLES

SMALL = ["--steps", "4", "--batch", "2", "--patch", "64", "--decay", "1", "--accelerator", "cpu"]


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders: photos, and the same at 60 % brightness."""
    folders = tmp_path / "A", tmp_path / "B"
    for folder in folders:
        folder.mkdir()
    for name in ("chelsea.png", "coffee.png"):
        image = Image.open(EXAMPLES / name).convert("RGB").crop((0, 0, 192, 160))
        image.save(folders[0] / name)
        image.point(lambda value: round(0.6 * value)).save(folders[1] / name.replace(".png", ".bmp"))
    return folders


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_pairs_are_learned_and_the_weights_translate(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    quickly = ["--steps", 40, "--learning-rate", 1e-3, "--average", 0.9, "--warmup", 5, "--decay", 20]
    invoke("translator", "--pairs", *pairs, "--out", tmp_path / "run", *SMALL, *quickly)
    invoke("export", tmp_path / "run" / "checkpoint.pt", "dim", "--folder", tmp_path)
    image = Image.open(pairs[0] / "chelsea.png")
    made = lapic.translate(image, str(tmp_path / "dim.safetensors"))
    before, after, wanted = (np.asarray(x, dtype=float) for x in (image, made, Image.open(pairs[1] / "chelsea.bmp")))
    assert abs(after - wanted).mean() < 0.3 * abs(before - wanted).mean()


@pytest.mark.parametrize(
    "extra",
    [["--gan"], ["--gan", "--gan-loss", "hinge"], ["--net", "lptn"], ["--lpips", "1", "--lpips-backbone", "BACKBONE"]],
)
def test_the_ways_to_learn_from_pairs(
    extra: list[str], pairs: tuple[Path, Path], tmp_path: Path, backbone: Path
) -> None:
    extra = [str(backbone) if word == "BACKBONE" else word for word in extra]
    invoke("translator", "--pairs", *pairs, "--out", tmp_path / "run", *SMALL, "--log-every", 2, *extra)
    columns = (tmp_path / "run" / "train.csv").read_text().splitlines()[0].split(",")
    assert ("accuracy" in columns) == ("--gan" in extra)
    invoke("export", tmp_path / "run" / "checkpoint.pt", "net", "--folder", tmp_path)
    assert isinstance(read(str(tmp_path / "net.safetensors"))[0], LPTN) == ("lptn" in extra)


@pytest.mark.parametrize("extra", [[], ["--cycle"], ["--net", "lptn"]])
def test_two_folders_are_enough(extra: list[str], pairs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    invoke("translator", "--from", pairs[0], "--to", pairs[1], "--out", out, *SMALL, *extra)
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert state["step"] == 4
    assert any(name.startswith("back.") for name in state["average"]) == ("--cycle" in extra)


def test_one_picture_is_enough_for_a_style(pairs: tuple[Path, Path], tmp_path: Path, backbone: Path) -> None:
    style = ["--style", pairs[1] / "coffee.bmp", "--lpips-backbone", backbone]
    invoke("translator", "--from", pairs[0], *style, "--out", tmp_path / "run", *SMALL)


def test_training_starts_from_the_weights_of_another_task(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    for number, init in ((1, "jpeg"), (2, tmp_path / "one.safetensors")):
        out = tmp_path / str(number)
        invoke("translator", "--pairs", *pairs, "--out", out, "--init", init, *SMALL, "--learning-rate", 0)
        invoke("export", out / "checkpoint.pt", "one", "--folder", tmp_path)
    found, restorer = read(str(tmp_path / "one.safetensors"))[0], read("jpeg")[0]
    assert found.config.tasks == ("translate",)
    expected = restorer(torch.zeros(1, 3, 32, 32), torch.tensor([0]))
    with torch.no_grad():
        assert torch.allclose(found(torch.zeros(1, 3, 32, 32), torch.tensor([0])), expected, atol=2e-2)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--from", "A"], "learns from"),
        (["--pairs", "A", "B", "--init", "photo"], "cannot be read"),
        (["--pairs", "A", "B", "--init", "jpeg", "--net", "lptn"], "not an LPTN"),
        (["--pairs", "A", "C"], "no partner"),
    ],
)
def test_what_cannot_be_learned_from(
    arguments: list[str], reason: str, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "C").mkdir()
    paths = [str(tmp_path / word) if word in "ABC" else word for word in arguments]
    result = CliRunner().invoke(main, ["translator", "--out", str(tmp_path / "run"), *SMALL, *paths])
    assert result.exit_code == 1
    assert reason in result.output
    assert "Traceback" not in result.output


def test_the_factor_of_grey_density(pairs: tuple[Path, Path]) -> None:
    found = invoke("grey", "--pairs", *pairs)
    assert float(found.split()[0].removeprefix("grey:")) == pytest.approx(0.6, abs=0.03)


def test_the_factor_allows_for_clipping() -> None:
    rng = np.random.default_rng(0)
    source = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    target = np.repeat((source.mean(axis=2, keepdims=True) * 1.7).clip(0, 255).round().astype(np.uint8), 3, axis=2)
    factor, quality = fit_factor([(source, target)])
    assert factor == pytest.approx(1.7, abs=0.003)
    assert quality > 50


def test_a_discriminator_learns_what_it_sees() -> None:
    torch.manual_seed(0)
    discriminator = MultiScaleDiscriminator(scales=2, width=8)
    optimiser = torch.optim.Adam(discriminator.parameters(), 2e-3, betas=(0.5, 0.99))
    for _ in range(30):
        real, made = torch.rand(4, 3, 64, 64), torch.rand(4, 3, 64, 64) / 4
        loss = discriminator_loss("hinge", discriminator(real), discriminator(made))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert accuracy("hinge", discriminator(real), discriminator(made)) > 0.9
    assert [scale[-1].shape[-1] for scale in discriminator(real)] == [7, 3]


@pytest.mark.parametrize("kind", adversarial.GAN_LOSSES)
def test_generator_and_discriminator_want_the_opposite(kind: str) -> None:
    sure, fooled = ([[torch.full((1, 1, 2, 2), value)]] for value in (-3.0, 3.0))
    assert discriminator_loss(kind, fooled, sure) < discriminator_loss(kind, sure, fooled)
    assert kind == "least-squares" or generator_loss(kind, fooled) < generator_loss(kind, sure)
    assert generator_loss("least-squares", [[torch.ones(1)]]) == 0


def test_feature_matching_compares_inner_layers_only() -> None:
    real = [[torch.zeros(1, 2), torch.zeros(1)]]
    assert feature_matching(real, [[torch.full((1, 2), 3.0), torch.ones(1)]]).item() == 3
    assert feature_matching(real, [[torch.zeros(1, 2), torch.ones(1)]]).item() == 0


def test_periodic_artefacts_are_told_from_texture() -> None:
    torch.manual_seed(0)
    cell = torch.rand(1, 3, 4, 4) - 0.5
    texture = torch.rand(1, 3, 128, 128) - 0.5
    assert periodic_artefacts(cell.repeat(1, 1, 32, 32)).item() == pytest.approx(
        127.5 * cell.square().mean().sqrt().item(), rel=1e-3
    )
    assert periodic_artefacts(texture).item() == pytest.approx(
        127.5 * texture.square().mean().sqrt().item() / 4, rel=0.1
    )


def test_gram_matrices_forget_places() -> None:
    features = torch.rand(1, 4, 6, 6)
    moved = features.flatten(2)[:, :, torch.randperm(36)].reshape(1, 4, 6, 6)
    assert torch.allclose(gram(features), gram(moved), atol=1e-5)
    assert gram(torch.ones(1, 2, 3, 3))[0, 0, 1].item() == pytest.approx(0.5)


def test_the_style_of_a_picture_is_nearest_to_itself(backbone: Path) -> None:
    style, other = (2 * torch.rand(1, 3, 64, 64) - 1 for _ in range(2))
    loss = perceptual.Style(style, backbone=backbone)
    assert loss(style, style).item() == pytest.approx(0, abs=1e-5)
    assert loss(other / 4, other / 4) > loss(style, style)


def test_lptn_weights_survive_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = LPTN(bands=4, mask_channels=3).eval()
    save(tmp_path / "l.safetensors", net, {})
    found, _ = read(str(tmp_path / "l.safetensors"))
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(found(picture), net(picture), atol=2e-2)


def test_a_partner_has_the_whole_name(tmp_path: Path) -> None:
    folders = tmp_path / "A", tmp_path / "B"
    for folder in folders:
        folder.mkdir()

    def write(folder: Path, name: str, shade: int) -> Path:
        Image.new("RGB", (8, 8), (shade,) * 3).save(folder / name)
        return folder / name

    first = write(folders[0], "s3.png", 1)
    write(folders[1], "s3.night.png", 2)
    with pytest.raises(ValueError, match=r"s3\.png has no partner"):
        read_pair(folders, first)
    write(folders[1], "s3.bmp", 3)
    assert read_pair(folders, first)[0, 0].tolist() == [1, 1, 1, 3, 3, 3]
    write(folders[1], "s3.png", 4)  # the same suffix comes first
    assert read_pair(folders, first)[0, 0].tolist() == [1, 1, 1, 4, 4, 4]
    brackets = write(folders[0], "IMG[1].png", 5)
    write(folders[1], "IMG[1].bmp", 6)
    assert read_pair(folders, brackets)[0, 0].tolist() == [5, 5, 5, 6, 6, 6]


@pytest.mark.parametrize(
    ("ways", "given", "reason"),
    [
        ("--pairs A B", "--gan-weight 2", "--gan-weight needs --gan"),
        ("--pairs A B", "--gan-loss hinge", "--gan-loss needs --gan"),
        ("--pairs A B", "--lpips-backbone A/chelsea.png", "--lpips-backbone needs --lpips"),
        ("--from A --to B", "--lpips 1", "--lpips does not go with --to"),
        ("--from A --to B", "--periodic-weight 1", "--periodic-weight does not go with --to"),
        ("--from A --to B", "--no-gan", "--no-gan does not go with --to"),
        ("--from A --style A/chelsea.png", "--lpips 1", "--lpips does not go with --style"),
        ("--from A --style A/chelsea.png", "--gan", "--gan does not go with --style"),
        ("--from A --style A/chelsea.png", "--gan-weight 1", "--gan-weight does not go with --style"),
    ],
)
def test_losses_that_a_run_does_not_have_are_wrong_usage(
    ways: str, given: str, reason: str, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    paths = {"A": str(pairs[0]), "B": str(pairs[1]), "A/chelsea.png": str(pairs[0] / "chelsea.png")}
    words = [paths.get(word, word) for word in f"{ways} {given}".split()]
    result = CliRunner().invoke(main, ["translator", "--out", str(tmp_path / "run"), *SMALL, *words])
    assert result.exit_code == 2
    assert f"Error: {reason}" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("cycle", [False, True])
def test_the_adversarial_loss_has_its_weight_without_pairs(
    cycle: bool, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    totals = []
    for weight in (0.0, 1.0, 3.0):
        torch.manual_seed(0)
        made = recipe(
            TranslationOptions(
                tmp_path, source=pairs[0], target=pairs[1], cycle=cycle, batch=1, patch=64, gan_weight=weight
            )
        )
        totals.append(made.losses["model"](made.models, made.batch(0), {})[0].item())
    assert totals[1] > totals[0]
    assert totals[2] - totals[0] == pytest.approx(3 * (totals[1] - totals[0]), rel=1e-3)


def test_a_realistic_decoder_starts_no_translator(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()  # said before pictures are read
    given = ["--pairs", tmp_path / "empty", tmp_path / "empty", "--init", REALISM / "photo.safetensors"]
    result = CliRunner().invoke(main, ["translator", "--out", str(tmp_path / "run"), *map(str, given)])
    assert result.exit_code == 1
    assert "photo.safetensors is a realistic decoder, which reads more than a picture" in result.output


def test_a_run_that_learns_in_another_way_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    run_files.write_options(TranslationOptions(tmp_path, source=EXAMPLES, target=EXAMPLES), {})
    with pytest.raises(ValueError, match="holds another run, which learns in another way: name another --out"):
        recipe(TranslationOptions(tmp_path, source=EXAMPLES, style=EXAMPLES / "coffee.png"))
