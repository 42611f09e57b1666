"""A model of one's own photos: trained, exported and measured by one command."""

import hashlib
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import lapic
from lapic.bitstream import Error
from lapic.codec.cli import main as codec_main
from lapic.codec.model.codec_weights import load
from lapic.codec.model.shipped import WEIGHTS
from lapic.training import own, own_pictures
from lapic.training.cli import main
from lapic.training.own import Own, OwnOptions, summary, train_own
from lapic.training.own_pictures import split

EDGE = own.LEAST_EDGE


def write_pictures(folder: Path, count: int, edge: int = EDGE) -> Path:
    """Pictures of coloured bars, each of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        bars = rng.integers(0, 256, (edge // 16, 1, 3), np.uint8).repeat(16, 0).repeat(edge, 1)
        Image.fromarray(bars).save(folder / f"{number}.png")
    return folder


def digests() -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in WEIGHTS.rglob("*.safetensors")}


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["own", *map(str, arguments)])


def options(photos: Path, out: Path, **changes: object) -> OwnOptions:
    small = {"tune": "psnr", "steps": 2, "batch": 1, "patch": 64, "edge": 64, "effort": 0}
    return OwnOptions(photos=photos, out=out, elsewhere=photos, **small | {"minutes": 60.0} | changes)


class Folder(TemporaryDirectory):
    """A temporary folder that notes whether tensors are mapped from its files when it is removed, which Windows would
    refuse."""

    mapped: ClassVar[list[bool]] = []

    def cleanup(self) -> None:
        maps = Path("/proc/self/maps")
        self.mapped.append(maps.exists() and self.name in maps.read_text())
        super().cleanup()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Own, Path]:
    """A new model and its file."""
    folder = tmp_path_factory.mktemp("own")
    photos = write_pictures(folder / "photos", own_pictures.LEAST_PICTURES + 2)
    out = folder / "models" / "mine.safetensors"
    out.parent.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "MOST_CROPS", 1)
        patch.setattr("tempfile.TemporaryDirectory", Folder)
        before = digests()
        found = train_own(options(photos, out))
        assert digests() == before
    return found, out


def test_a_model_is_trained_measured_and_written(made: tuple[Own, Path]) -> None:
    found, out = made
    model = load(str(out))
    assert found.identity == model.identity
    assert model.identity != load("photo").identity
    assert model.qualities == (1, 60)
    assert int(model.card["steps"]) == int(load("photo").card["steps"]) + 2
    assert (found.steps, found.held_out) == (2, 2)
    assert found.elsewhere > 0
    assert found.change is not None and abs(found.change) < 50
    assert found.change_elsewhere is not None
    assert 0 < found.minutes < 60
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert Folder.mapped and not any(Folder.mapped)


def test_a_file_of_an_own_model_is_decoded_with_it_alone(
    made: tuple[Own, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, weights = made
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))  # no own models there
    write_pictures(tmp_path, 1, 64)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(codec_main, list(map(str, arguments)))

    picture, file, decoded = (tmp_path / name for name in ("0.png", "0.lapic", "decoded.png"))
    assert run("encode", "--model", weights, "-e", 0, picture, file).exit_code == 0
    assert lapic.info(file.read_bytes())["model"]["id"] == found.identity.hex()
    refused = run("decode", file, decoded)
    assert refused.exit_code == 1
    assert len(refused.stderr.splitlines()) == 1
    assert f"model {found.identity.hex()} is needed and not installed" in refused.stderr
    assert "--model" in refused.stderr
    assert not decoded.exists()
    assert run("decode", "--model", weights, file, decoded).exit_code == 0
    assert Image.open(decoded).size == (64, 64)
    refused = run("encode", "--model", weights, "-q", 80, picture, tmp_path / "high.lapic")
    assert refused.exit_code == 1
    assert "qualities 1 to 60" in refused.stderr


def test_a_time_too_short_for_all_but_training_is_refused(tmp_path: Path) -> None:
    photos = write_pictures(tmp_path / "photos", own_pictures.LEAST_PICTURES)
    with pytest.raises(Error, match=r"0\.001 minutes are too few: all but training takes \d+ here"):
        train_own(options(photos, tmp_path / "mine.safetensors", minutes=0.001))
    assert not (tmp_path / "mine.safetensors").exists()


@pytest.mark.parametrize(
    ("count", "edge", "expected"),
    [
        (0, EDGE, "no pictures in"),
        (own_pictures.LEAST_PICTURES - 1, EDGE, f"{own_pictures.LEAST_PICTURES - 1} readable pictures"),
        (own_pictures.LEAST_PICTURES, EDGE - 16, f"0 readable pictures of at least {EDGE} x {EDGE}"),
    ],
)
def test_too_few_pictures_are_refused(tmp_path: Path, count: int, edge: int, expected: str) -> None:
    photos = write_pictures(tmp_path / "photos", count, edge)
    (photos / "notes.txt").write_text("no picture")
    if count == own_pictures.LEAST_PICTURES - 1:
        (photos / "broken.png").write_bytes(b"no picture")
    found = invoke(photos, "--out", tmp_path / "mine.safetensors")
    assert found.exit_code == 1
    assert found.output.startswith("Error: ")
    assert len(found.output.splitlines()) == 1
    assert expected in found.output
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize("minutes", [0, -5, math.inf, math.nan])
def test_minutes_must_be_above_0(tmp_path: Path, minutes: float) -> None:
    found = invoke(tmp_path, "--minutes", minutes, "--out", tmp_path / "mine.safetensors")
    assert (found.exit_code, len(found.output.splitlines())) == (1, 1)
    assert "the minutes must be finite and above 0" in found.output


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("missing/mine.safetensors", "No such file or directory"),
        (".", "Is a directory"),
        ("there.safetensors", "exists: --force replaces it"),
        ("/proc/mine.safetensors", "cannot write"),
        (str(WEIGHTS / "mine.safetensors"), "the folder of the shipped models"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, out: str, reason: str) -> None:
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    found = invoke(tmp_path, "--out", tmp_path / out)
    assert (found.exit_code, len(found.output.splitlines())) == (1, 1)
    assert reason in found.output
    assert (tmp_path / "there.safetensors").read_bytes() == b"mine"
    assert not (WEIGHTS / "mine.safetensors").exists()


def test_a_fifth_is_held_out_and_what_cannot_be_used_left_out(tmp_path: Path) -> None:
    photos = write_pictures(tmp_path / "photos", 11)
    write_pictures(photos / "small", 3, 64)
    (photos / "broken.jpg").write_bytes(b"no picture")
    training, held_out = split(photos)
    assert (len(training), len(held_out)) == (9, 2)
    assert set(training) | set(held_out) == set(photos.glob("*.png"))
    assert split(photos) == (training, held_out)
    assert split(photos, seed=1) != (training, held_out)


def test_the_summary_says_what_is_saved_and_what_it_costs() -> None:
    found = Own(bytes.fromhex("00c0ffee"), -12.34, 4.56, 11, 5, 300, 58.91)
    line = summary(found, OwnOptions(photos=Path("a"), out=Path("mine.safetensors")))
    assert line == (
        "mine.safetensors: model 00c0ffee takes 12.3 % fewer bits than eye at equal SSIMULACRA2 on held-out pictures "
        "(11), 4.6 % more bits on other photos (5); 300 steps, 58.9 min in all"
    )
    without = Own(found.identity, None, None, 11, 0, 300, 58.91)
    line = summary(without, OwnOptions(photos=Path("a"), out=Path("mine.safetensors"), tune="psnr"))
    assert "cannot be compared with photo at equal PSNR on held-out pictures (11); 300" in line


def test_a_picture_that_cannot_be_decoded_is_left_out_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_pictures(tmp_path / "photos", own_pictures.LEAST_PICTURES)
    Image.open(photos / "0.png").save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    training, held_out = split(photos)
    assert set(training) | set(held_out) == set(photos.glob("*.png"))
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"left out: {photos / 'cut.jpg'}: ")
    (photos / "0.png").unlink()
    with pytest.raises(Error, match=f"has {own_pictures.LEAST_PICTURES - 1} readable pictures"):
        split(photos)


def test_no_more_pictures_are_checked_than_are_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = write_pictures(tmp_path / "photos", 12)
    monkeypatch.setattr(own_pictures, "MOST_GIB", 9.5 * 3 * EDGE**2 / 2**30)
    training, held_out = split(photos)
    assert (len(training), len(held_out)) == (8, 2)


@pytest.mark.parametrize("refused", [("symlink",), ("symlink", "link")])
def test_pictures_get_numbers_where_the_system_allows_no_links(
    refused: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Windows does by default, and file systems such as exFAT."""

    def refuse(*args: object, **options: object) -> None:
        raise OSError("a required privilege is not held by the client")

    for name in refused:
        monkeypatch.setattr(f"os.{name}", refuse)
    (tmp_path / "a.png").write_bytes(b"picture")
    own_pictures.link(tmp_path / "000000.png", tmp_path / "a.png")
    assert not (tmp_path / "000000.png").is_symlink()
    assert (tmp_path / "000000.png").read_bytes() == b"picture"
