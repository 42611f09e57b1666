"""The command `lapic-train`: what is wrong is one line, before any training."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from lightning_fabric import Fabric
from PIL import Image

import lapic
from lapic.training import codec, data, decoder, export, loop, run_files
from lapic.training.cli import main
from lapic.training.qualities import of_model
from lapic.training.shards import list_shards, shard_pictures
from tests.conftest import EXAMPLES


def run_train(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fails_with(result: Result, *words: str) -> None:
    """One clear line and exit code 1."""
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1), result.output
    for word in words:
        assert word in result.output


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list:
    """The options of the runs that would start."""
    options: list = []
    monkeypatch.setattr(loop, "train", lambda given, prepare: options.append(given))
    return options


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["codec"], (1, 100)),
        (["codec", "--init", "photo"], (1, 60)),
        (["codec", "--init", "photo-high", "--highest", "90"], (60, 90)),
        (["decoder"], (1, 60)),
        (["entropy", "--model", "eye-high", "--lowest", "70"], (70, 100)),
    ],
)
def test_qualities_are_those_of_the_model(
    command: list[str], expected: tuple[int, int], started: list, tmp_path: Path
) -> None:
    result = run_train(*command, "--data", EXAMPLES, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert (started[0].lowest, started[0].highest) == expected


def test_qualities_of_models() -> None:
    assert (of_model(None), of_model("fast"), of_model("eye-high")) == ((1, 100), (1, 60), (56, 100))


@pytest.mark.parametrize(
    "arguments",
    [
        ["codec", "--batch", "0"], ["codec", "--patch", "0"], ["codec", "--learning-rate", "nan"],
        ["codec", "--learning-rate", "-1"], ["codec", "--sync-every", "0"], ["codec", "--context", "-5"],
        ["codec", "--loaders", "0"], ["restorer", "--task", "jpeg", "--average", "2"],
        ["codec", "--max-minutes", "nan"], ["codec", "--decay-minutes", "-1"], ["codec", "--decay-minutes", "nan"],
        ["codec", "--checkpoint-minutes", "-1"], ["codec", "--patterns", "nan"], ["adversarial", "--gan-weight", "nan"],
        ["codec", "--cuda-graph", "--init", "photo", "--device", "cpu", "--minutes", "nan"],
        ["codec", "--cuda-graph", "--init", "photo", "--minutes", "0", "--more-fine", "-1"],
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_wrong_usage(arguments: list[str], started: list, tmp_path: Path) -> None:
    assert run_train(*arguments, "--data", EXAMPLES, "--out", tmp_path / "run").exit_code == 2
    assert not started


@pytest.mark.parametrize(("command", "unit"), [("codec", 64), ("entropy", 64), ("restorer", 8)])
def test_crops_that_the_networks_do_not_take(command: str, unit: int, tmp_path: Path) -> None:
    task = ("--task", "jpeg") if command == "restorer" else ()
    result = run_train(command, "--data", EXAMPLES, "--out", tmp_path / "run", "--patch", 5 * unit + 1, *task)
    fails_with(result, f"a multiple of {unit} pixels", str(5 * unit + 1))


def test_a_run_that_cannot_start_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    fails_with(run_train("codec", "--data", tmp_path / "data", "--out", tmp_path / "run"), "no pictures")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_run_that_is_ended_leaves_no_temporary_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(8):
        Image.effect_noise((512, 512), 50).save(tmp_path / "photos" / f"{number}.png")
    photos, out = tmp_path / "photos", tmp_path / "own.safetensors"
    command = [sys.executable, "-m", "lapic.training.cli", "own", photos, "--out", out]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        run.stdout.readline()  # the first: training is about to start, or pictures are measured
        assert list(tmp_path.glob("lapic-own-*"))
        run.send_signal(signal.SIGTERM)
        _, complaints = run.communicate(timeout=60)
    assert (run.returncode, complaints.splitlines()[-1]) == (143, "lapic-train: ended by SIGTERM")
    assert not list(tmp_path.glob("lapic-own-*"))


def test_options_of_a_translator_that_exclude_each_other(tmp_path: Path) -> None:
    a, out = str(EXAMPLES), ["--out", str(tmp_path / "run")]
    for given in (
        ["--pairs", a, a, "--from", a, "--to", a],
        ["--pairs", a, a, "--cycle"],
        ["--from", a, "--to", a, "--style", f"{a}/coffee.png"],
        ["--from", a],
    ):
        fails_with(run_train("translator", *given, *out), "a translator learns from")


def test_a_run_of_another_kind_or_model_is_not_resumed(tmp_path: Path) -> None:
    def options(kind: type, **more: object) -> object:
        return kind(out=tmp_path, data=EXAMPLES, **more)

    first = options(decoder.DecoderOptions, model="photo")
    run_files.write_options(first, {"kind": "synthesis"})
    run_files.check_resumed(tmp_path, {}, loop.CHOSEN)  # there is no checkpoint yet
    run_files.checkpoint_of(tmp_path).write_bytes(b"")
    run_files.check_resumed(tmp_path, dataclasses.asdict(first), loop.CHOSEN)
    run_files.check_resumed(tmp_path, {"kind": "synthesis"}, ("kind",))
    for other in (options(decoder.DecoderOptions), options(codec.CodecOptions, init="photo")):
        with pytest.raises(ValueError, match="holds another run, with"):
            run_files.check_resumed(tmp_path, dataclasses.asdict(other), loop.CHOSEN)
    with pytest.raises(ValueError, match="with kind synthesis, not None"):
        run_files.check_resumed(tmp_path, {}, ("kind",))
    base = ["--data", EXAMPLES, "--out", tmp_path]
    fails_with(run_train("decoder", *base), "holds another run, with model photo, not eye: name another --out")


@pytest.mark.parametrize("contents", [b"", b"text", b"hello", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_one_line(contents: bytes, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(contents)
    (tmp_path / "options.json").write_text('{"kind": "translator", "config": {}}')
    fails_with(run_train("export", tmp_path / "checkpoint.pt", "a", "--folder", tmp_path), "checkpoint.pt is damaged")
    assert not (tmp_path / "a.safetensors").exists()


def test_options_of_a_codecs_export_are_for_codecs(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    (tmp_path / "options.json").write_text('{"kind": "translator"}')
    for given, reason in (
        (["--interpolate", "0.5"], "--interpolate is for codecs alone"),
        (["--crops", "3"], "--data and --crops are for codecs alone"),
        (["--data", EXAMPLES], "--data and --crops are for codecs alone"),
    ):
        result = run_train("export", tmp_path / "checkpoint.pt", "a", "--folder", tmp_path, *given)
        assert (result.exit_code, reason in result.output) == (2, True)


def test_pictures_of_16_bits_are_read_by_their_range(tmp_path: Path) -> None:
    levels = np.linspace(0, 255, 64 * 64).reshape(64, 64)
    Image.fromarray((levels * 257).astype(np.uint16)).save(tmp_path / "deep.png")
    found = data.read_rgb(tmp_path / "deep.png")
    assert found.shape == (64, 64, 3)
    assert np.abs(found[..., 0] - levels).max() <= 1


def test_held_out_pictures_of_other_sizes_are_named(tmp_path: Path) -> None:
    Image.new("RGB", (128, 100)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is of 128 x 100 pixels: edges of held-out pictures"):
        data.held_out(tmp_path)


def test_damaged_shards_and_pictures_in_them_are_named(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    (tmp_path / "0.png").write_bytes(b"no picture")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "0.png", "0.png")
    with pytest.raises(lapic.Error, match=r"a\.tar: 0\.png: not a picture"):
        list(shard_pictures(list_shards(tmp_path), {".png"}))
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:700])
    with pytest.raises(lapic.Error, match="a shard is damaged"):
        list(shard_pictures(list_shards(tmp_path), {".png"}))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["codec", "--init", "fast", "--quarter", "64"], "generation 2 have no stage at 1/4: leave out --quarter"),
        (["codec", "--generation", "2", "--quarter", "64"], "generation 2 have no stage at 1/4: leave out --quarter"),
        (["codec", "--precision", "16-mixed"], "take bf16-mixed or 32-true"),
        (["codec", "--context", "384"], "the context must be of fewer channels than the latent's 384"),
        (["codec", "--generation", "2", "--teacher", "fast"], "fast is no teacher: it must be of generation 1"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_data_is_read(
    arguments: list[str], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    result = run_train(*arguments, "--data", tmp_path / "data", "--out", tmp_path / "run", "--accelerator", "cpu")
    assert result.exit_code == 1
    assert reason in result.output.splitlines()[-1]
    assert "no pictures" not in result.output


@pytest.mark.parametrize("command", [["restorer", "--task", "jpeg"], ["adversarial", "--no-gan"]])
@pytest.mark.parametrize("given", [["--gan-weight", "2"], ["--gan-loss", "hinge"]])
def test_options_of_an_adversarial_loss_need_one(
    command: list[str], given: list[str], started: list, tmp_path: Path
) -> None:
    result = run_train(*command, *given, "--data", EXAMPLES, "--out", tmp_path / "run")
    assert (result.exit_code, f"{given[0]} needs --gan" in result.output) == (2, True)
    assert not started


def test_minutes_of_decay_need_an_end(started: list, tmp_path: Path) -> None:
    words = ["codec", "--data", EXAMPLES, "--out", tmp_path / "run", "--decay-minutes", "5"]
    result = run_train(*words)
    assert (result.exit_code, "--decay-minutes needs --max-minutes" in result.output) == (2, True)
    assert not started
    assert run_train(*words, "--max-minutes", "9").exit_code == 0
    assert len(started) == 1


def test_documented_runs_for_a_time_lower_their_learning_rate() -> None:
    root = EXAMPLES.parent
    for path in (root / "docs" / "TRAINING.md", *EXAMPLES.glob("*.py")):
        for line in path.read_text().splitlines():
            assert ("--max-minutes" in line and "lapic-train" in line) <= ("--decay-minutes" in line), (path, line)


def test_an_export_of_a_decoder_takes_the_data_and_crops_that_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def write(*given: object, **settings: object) -> tuple[Path, bytes]:
        seen.append(settings)
        return EXAMPLES / "coffee.png", b""

    monkeypatch.setattr(export, "export_synthesis", write)
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    (tmp_path / "options.json").write_text('{"kind": "synthesis"}')
    base = ["export", tmp_path / "checkpoint.pt", "a"]
    assert run_train(*base).exit_code == 0
    assert run_train(*base, "--data", EXAMPLES, "--crops", 9, "--folder", tmp_path).exit_code == 0
    assert seen == [{"data": None, "folder": None}, {"data": EXAMPLES, "folder": tmp_path, "crops": 9}]


def test_checkpoints_that_cannot_be_resumed_are_named(tmp_path: Path) -> None:
    net = torch.nn.Linear(1, 1)
    recipe = loop.Recipe(
        models={"model": net},
        optimisers={"model": [torch.optim.SGD([{"params": list(net.parameters()), "lr_scale": 1.0}])]},
        losses={},
        batch=lambda step: (torch.ones(1, 1),),
    )
    trainer = loop.Trainer(loop.Options(tmp_path), Fabric(accelerator="cpu", devices=1), recipe)
    checkpoint = run_files.checkpoint_of(tmp_path)
    torch.save({"average": net.state_dict(), "step": 9, "seconds": 1.0}, checkpoint)  # of a run with --cuda-graph
    with pytest.raises(lapic.Error, match=r"checkpoint\.pt is of a run that cannot be resumed: name another --out"):
        trainer.resume()
    for contents in (b"", b"text", checkpoint.read_bytes()[:-100]):
        checkpoint.write_bytes(contents)
        with pytest.raises(lapic.Error, match=r"checkpoint\.pt is damaged"):
            trainer.resume()


def test_options_of_a_run_are_written_whole_and_damage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = loop.Options(tmp_path)
    run_files.write_options(first, {"kind": "first"})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(lapic.Error, match="No space left on device"):
            run_files.write_options(first, {"kind": "second"})
    assert run_files.read_options(tmp_path)["kind"] == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["options.json"]
    for contents in ("", '{"kind": "fir', "[]"):
        (tmp_path / "options.json").write_text(contents)
        with pytest.raises(lapic.Error, match=r"options\.json is damaged"):
            run_files.read_options(tmp_path)


def test_folders_and_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    for name in ("album.png", ".trash", "more.jpg"):
        (tmp_path / name).mkdir()
    for name in ("._a.png", ".trash/b.png", "more.jpg/c.PNG", "d.webp", "e.txt", "._f.tar", "g.tar"):
        (tmp_path / name).touch()
    assert data.list_pictures(tmp_path) == [tmp_path / "d.webp", tmp_path / "more.jpg" / "c.PNG"]
    assert list_shards(tmp_path) == [tmp_path / "g.tar"]


def test_a_shard_may_have_a_colon_in_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("webdataset")
    (tmp_path / "trip:2026").mkdir()
    with tarfile.open(tmp_path / "trip:2026" / "a.tar", "w") as tar:
        tar.add(EXAMPLES / "coffee.png", "0.png")
    monkeypatch.chdir(tmp_path)
    assert len(list(shard_pictures(list_shards(Path("trip:2026")), {".png"}))) == 1


@pytest.mark.parametrize("command", ["codec", "decoder", "entropy", "adversarial", "restorer", "translator", "own"])
def test_without_the_extra_training_one_line_names_it(command: str, tmp_path: Path) -> None:
    """As where only the extra `evaluation` is installed, which `own` needs too."""
    without = "import sys; sys.modules['lightning_fabric'] = None\nfrom lapic.training.cli import run; run()"
    more = {"restorer": ["--task", "jpeg"], "translator": ["--pairs", EXAMPLES, EXAMPLES]}
    given = [EXAMPLES] if command == "own" else more.get(command, [])
    given += [] if command in ("own", "translator") else ["--data", EXAMPLES]
    arguments = [command, *given, "--out", tmp_path / "out"]
    ended = subprocess.run([sys.executable, "-c", without, *map(str, arguments)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "Error: lightning_fabric is missing: pip install 'lapic[training]'\n"


def test_a_package_that_a_loss_needs_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    asked = ("restorer", "--task", "jpeg", "--data", EXAMPLES, "--gan", "--lpips", 1, "--patch", 64, "--batch", 1)
    result = run_train(*asked, "--out", tmp_path / "run", "--accelerator", "cpu", "--max-minutes", 0.01)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Error: lpips is missing: pip install 'lapic[evaluation]'"


def test_an_extra_is_not_blamed_for_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise ModuleNotFoundError("No module named 'numpy.odd'", name="numpy.odd")

    monkeypatch.setattr("lapic.training.data.list_pictures", fail)
    result = run_train("grey", "--pairs", EXAMPLES, EXAMPLES)
    assert (result.exit_code, result.output) == (1, "Error: numpy.odd is missing\n")


@pytest.mark.parametrize("command", [["--help"], ["grey", "--pairs", str(EXAMPLES), str(EXAMPLES)]])
@pytest.mark.parametrize(("end", "reason"), [("> /dev/full", "No space left on device"), (">&-", "Bad file")])
def test_a_full_or_closed_standard_output_is_one_line(command: list[str], end: str, reason: str) -> None:
    shell = ["sh", "-c", f'"$@" {end}', "sh", sys.executable, "-m", "lapic.training.cli", *command]
    ended = subprocess.run(shell, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"lapic-train: cannot write to standard output: {reason}")
    assert len(ended.stderr.splitlines()) == 1


def test_a_library_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    program = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "lightning_fabric":
            raise OSError("libcudart.so: cannot open shared object file")
sys.meta_path.insert(0, Finder())
from lapic.training.cli import run
run()
"""
    command = [sys.executable, "-c", program, "codec", "--data", EXAMPLES, "--out", tmp_path / "run"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1), ended.stderr
    assert ended.stderr.startswith("lapic-train: OSError: libcudart.so: cannot open shared object file (unexpected")


def test_a_working_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    program = "import os; os.rmdir(os.getcwd()); from lapic.training.cli import run; run()"
    root = Path(lapic.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-P", "-c", program, "grey", "--pairs", EXAMPLES, EXAMPLES]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1), ended.stderr
    assert ended.stderr.startswith("lapic-train: the working folder cannot be used: ")
