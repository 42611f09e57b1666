"""Many files: trees, times, failures, resuming, manifests; and what a kill at any moment leaves behind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import lapic
from lapic.codec import files
from lapic.codec.cli import main
from lapic.codec.command.convert import verify_file
from lapic.codec.command.verify import VerifyJob

LAPIC = [sys.executable, "-m", "lapic.codec.cli"]


def run_lapic(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def tree(photo: Image.Image, tmp_path: Path) -> Path:
    """Pictures in a folder and a folder below it, one file that is no picture and one that only seems one."""
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    for number, name in enumerate(("a.png", "deep/b.jpg", "deep/er/c.webp")):
        photo.crop((number, 0, 64, 48)).save(folder / name)
        os.utime(folder / name, (1_000_000_000 + number, 1_100_000_000 + number))
    (folder / "notes.txt").write_text("not a picture")
    (folder / "deep" / "broken.png").write_text("no picture either")
    return folder


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_tree_goes_through_and_one_bad_file_does_not_stop_it(tree: Path, tmp_path: Path, jobs: int) -> None:
    out, back = tmp_path / "out", tmp_path / "back"
    result = run_lapic("encode", tree, out, "-r", "-j", jobs, "--json", tmp_path / "manifest.json")
    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if "lapic:" in line] == [
        f"lapic: {tree}/deep/broken.png: not a picture that Pillow can read"
    ]
    made = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert made == ["a.lapic", "deep/b.lapic", "deep/er/c.lapic"]
    for number, name in enumerate(made):
        assert (out / name).stat().st_mtime == 1_100_000_000 + number
    rows = json.loads((tmp_path / "manifest.json").read_text())
    assert sorted((Path(row["source"]).name, row["status"]) for row in rows) == [
        ("a.png", "done"), ("b.jpg", "done"), ("broken.png", "failed"), ("c.webp", "done"),
    ]  # fmt: skip
    for row in rows:
        if row["status"] == "done":
            assert row["bytes"] == Path(row["target"]).stat().st_size
    assert run_lapic("decode", out, back, "-r", "-j", jobs, "--format", "jpg").exit_code == 0
    assert Image.open(back / "deep" / "er" / "c.jpg").size == (62, 48)
    assert (back / "a.jpg").stat().st_mtime == 1_100_000_000


def test_without_recursive_only_the_folder_itself(tree: Path, tmp_path: Path) -> None:
    assert run_lapic("encode", tree, tmp_path / "out").exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.lapic"]


def test_patterns_and_several_names(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_lapic("encode", f"{tree}/**/*.[jw]*", tree / "a.png", f"{out}/").exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.lapic", "b.lapic", "c.lapic"]
    result = run_lapic("encode", f"{tree}/*.tif", f"{out}/")
    assert result.exit_code == 1
    assert "matches no file" in result.stderr


def test_two_files_that_would_become_one(tree: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tree / "a.bmp")
    result = run_lapic("encode", tree, tmp_path / "out")
    assert result.exit_code == 1
    assert "would both become" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_standard_input_goes_into_a_folder(jobs: int, tree: Path, tmp_path: Path) -> None:
    data = (tree / "a.png").read_bytes()
    result = CliRunner().invoke(main, ["encode", "-e", "0", "-", f"{tmp_path}/out/", "-j", str(jobs)], input=data)
    assert (result.exit_code, result.stderr) == (0, "1 done\n")
    with Image.open(tree / "a.png") as image:
        assert (tmp_path / "out" / "-.lapic").read_bytes() == lapic.encode(image, effort=0)


def test_nothing_is_replaced_without_force(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.lapic").write_bytes(b"precious")
    assert run_lapic("encode", tree, out).exit_code == 1
    result = run_lapic("encode", tree / "a.png", out / "a.lapic")
    assert result.exit_code == 1
    assert result.stderr == f"lapic: {out}/a.lapic exists: --force replaces it\n"
    assert run_lapic("encode", tree, out, "--skip-existing").exit_code == 0
    assert (out / "a.lapic").read_bytes() == b"precious"
    assert run_lapic("encode", tree, out, "--force").exit_code == 0
    assert lapic.info((out / "a.lapic").read_bytes())["width"] == 64


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"somebody was quicker")
    with pytest.raises(lapic.Error, match="exists"):
        files.write_output(str(target), b"mine", force=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"somebody was quicker"]


def test_resuming_does_only_what_is_left(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_lapic("encode", tree / "a.png", f"{out}/")
    before = (out / "a.lapic").stat().st_ino
    result = run_lapic("encode", tree, out, "-r", "--skip-existing", "--json", "-")
    rows = json.loads(result.stdout)
    assert [row["status"] for row in rows].count("skipped") == 1
    assert [row["status"] for row in rows].count("done") == 2
    assert (out / "a.lapic").stat().st_ino == before


def test_a_vanished_or_unreadable_input(tree: Path, tmp_path: Path) -> None:
    result = run_lapic("encode", tree / "a.png", tree / "gone.png", f"{tmp_path}/out/")
    assert result.exit_code == 1
    assert "gone.png" in result.stderr
    assert (tmp_path / "out" / "a.lapic").exists()


def test_verify_hands_each_name_to_a_worker_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(calls: list, workers: int, listen: Callable[[int, dict], None]) -> None:
        for number, (_, job) in enumerate(calls):
            asked.append(job.source)
            listen(number, {"contents": "whole"})

    def compare(*_: object) -> bool:
        raise AssertionError("every file is compared with every other one")

    monkeypatch.setattr("lapic.codec.command.workers.run", run)
    monkeypatch.setattr(VerifyJob, "__eq__", compare)
    result = run_lapic("verify", "a.lapic", "b.lapic", "c.lapic", "-j", 2)
    assert (result.exit_code, asked) == (0, ["a.lapic", "b.lapic", "c.lapic"])


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_kill_at_any_moment_leaves_the_old_file_or_the_whole_new_one(
    kind: signal.Signals, photo: Image.Image, tmp_path: Path
) -> None:
    """Writing is slowed down by many small files, so that kills fall into it."""
    script = (
        "import signal, sys\nfrom lapic.codec import files\n"
        "from lapic.codec.command.interrupts import end_on_sigterm\nend_on_sigterm()\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which background shells hand down ignored
        "print('ready', flush=True)\n"
        "for turn in range(100_000):\n"
        "    files.write_output(sys.argv[1], bytes([65 + turn % 26]) * 300_000)\n"
    )
    target = tmp_path / "out.lapic"
    rounds = random.Random(int(kind))
    for _ in range(12):
        target.write_bytes(b"old")
        process = subprocess.Popen([sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(rounds.uniform(0, 0.05))
        process.send_signal(kind)
        process.wait(timeout=30)
        found = target.read_bytes()
        assert found == b"old" or (len(found) == 300_000 and len(set(found)) == 1)
        left = [path for path in tmp_path.iterdir() if path != target]
        if kind != signal.SIGKILL:  # which no program can answer
            assert not left
        for path in left:
            path.unlink()


def test_sigterm_during_encoding_leaves_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1200, 1600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.bmp")
    for delay in (0.3, 1.2, 1.8, 2.4):
        process = subprocess.Popen(
            [*LAPIC, "encode", "noise.bmp", "out.lapic", "--quiet"], cwd=tmp_path, stderr=subprocess.PIPE
        )
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
        assert b"Traceback" not in error
        if (tmp_path / "out.lapic").exists():
            assert verify_file(str(tmp_path / "out.lapic"))
            (tmp_path / "out.lapic").unlink()
        assert [path.name for path in tmp_path.iterdir()] == ["noise.bmp"]


def test_an_interrupted_batch_resumes(photo: Image.Image, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(8):
        photo.rotate(number).save(source / f"{number:02}.bmp")
    process = subprocess.Popen(
        [*LAPIC, "encode", "-e", "2", str(source), str(out), "-j", "2"], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background would ignore it
    )  # fmt: skip
    while not (out.exists() and len(list(out.glob("*.lapic"))) > 2):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    done = {path.name: path.stat().st_ino for path in out.iterdir()}
    assert all(name.endswith(".lapic") for name in done)
    if process.returncode != 0:
        assert "--skip-existing goes on from here" in error
        assert "Traceback" not in error
    resumed = [*LAPIC, "encode", "-e", "0", str(source), str(out), "--skip-existing", "--quiet"]
    assert subprocess.run(resumed).returncode == 0
    assert len(list(out.iterdir())) == 8
    for name, inode in done.items():
        assert (out / name).stat().st_ino == inode
        lapic.info((out / name).read_bytes())
