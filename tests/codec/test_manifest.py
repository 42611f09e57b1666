"""Manifests: they replace those of earlier runs, and nothing else."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import lapic
from lapic.codec.cli import main


def run_lapic(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(photo: Image.Image, tmp_path: Path) -> Path:
    """A picture and two .lapic files."""
    photo.crop((0, 0, 64, 48)).save(tmp_path / "a.png")
    for name in ("a.lapic", "b.lapic"):
        (tmp_path / name).write_bytes(lapic.encode(photo.crop((0, 0, 32, 32)), effort=0))
    return tmp_path


@pytest.mark.parametrize(
    ("command", "manifest"),
    [
        (["verify", "a.lapic", "b.lapic"], "a.lapic"),
        (["verify", "a.lapic", "."], "./b.lapic"),
        (["verify", "b.lapic"], "a.lapic"),
        (["encode", "-e", "0", "a.png", "new.lapic"], "a.png"),
        (["encode", "-e", "0", "a.png", "new.lapic"], "new.lapic"),
        (["encode", "-e", "0", "a.png", "a.lapic", "-f"], "a.lapic"),
        (["encode", "-e", "0", "a.png", "new/"], "a.png"),
        (["decode", "a.lapic", "new.png"], "b.lapic"),
        (["decode", "a.lapic", "new.png"], "link.json"),
        (["restore", "a.png", "new.png"], "a.png"),
    ],
)
def test_no_picture_is_replaced_by_a_manifest(
    command: list[str], manifest: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "link.json").symlink_to("a.lapic")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = run_lapic(*command, "--json", manifest)
    assert result.exit_code == 1
    assert "manifest" in result.stderr and len(result.stderr.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_no_frame_is_replaced_by_a_manifest(folder: Path) -> None:
    (folder / "out").mkdir()
    frame = folder / "out" / "frame-0001.lapic"
    result = run_lapic("encode", "-e", 0, "--frames", folder / "a.png", folder / "out", "--json", frame, "--quiet")
    assert (result.exit_code, "by its name is no manifest" in result.stderr) == (1, True)
    assert lapic.info(frame.read_bytes())["width"] == 64


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "file:///dev/stdout"])
def test_on_standard_output_a_manifest_is_alone(name: str, folder: Path) -> None:
    result = run_lapic("verify", folder / "a.lapic", "--json", name)
    assert [row["status"] for row in json.loads(result.stdout)] == ["done"]


def test_a_manifest_replaces_an_earlier_one(folder: Path) -> None:
    for name in ("all.json", "all.jsonl"):
        (folder / name).write_text("of an earlier run")
        assert run_lapic("verify", folder / "a.lapic", "--manifest", folder / name).exit_code == 0
        assert json.loads((folder / name).read_text().strip("[]\n"))["status"] == "done"


@pytest.mark.parametrize("command", [["encode", "-e", "0", "a.png"], ["decode", "a.lapic"]])
def test_output_and_manifest_do_not_share_standard_output(
    command: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = run_lapic(*command, "-", "--json", "-")
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("command", [["encode", "-e", "0", "a.png", "a.lapic"], ["decode", "a.lapic", "a.png"]])
def test_a_single_file_that_is_skipped_is_in_the_manifest(
    command: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = (folder / command[-1]).read_bytes()
    result = run_lapic(*command, "--skip-existing", "--json", "-")
    assert json.loads(result.stdout) == [{"source": command[-2], "target": command[-1], "status": "skipped"}]
    assert (folder / command[-1]).read_bytes() == before
