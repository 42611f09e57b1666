"""The command as a process among others: its streams, its signals, names and links that go wrong, and any exception."""

import json
import os
import shlex
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
from lapic.codec import api, files
from lapic.codec.cli import main
from lapic.codec.command import batch
from lapic.codec.command.failures import named

LAPIC = [sys.executable, "-m", "lapic"]
SHELL = f"{shlex.quote(sys.executable)} -m lapic"
LONG = "n" * 260


def run_lapic(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What bash makes of a command in which LAPIC stands for ours."""
    script = command.replace("LAPIC", SHELL)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | variables
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, env=environment)


@pytest.fixture
def folder(photo: Image.Image, tmp_path: Path) -> Path:
    photo.crop((0, 0, 48, 32)).save(tmp_path / "plain.png")
    return tmp_path


@pytest.fixture
def coded(folder: Path) -> Path:
    (folder / "o.lapic").write_bytes(lapic.encode(Image.open(folder / "plain.png"), effort=0))
    return folder


# ---- whatever is raised


FAILURES = {
    "key": (KeyError("no such thing"), "KeyError: 'no such thing' (unexpected: please report it"),
    "memory": (MemoryError(), "not enough memory"),
    "torch": (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "not enough memory"),
    "threads": (RuntimeError("can't start new thread"), "not enough memory"),
    "library": (ImportError("libtorch.so: failed to map segment from shared object"), "not enough memory"),
    "runtime": (RuntimeError("boom\nand more"), "RuntimeError: boom (unexpected"),
    "recursion": (RecursionError("too deep"), "RecursionError: too deep (unexpected"),
    "panic": (BaseException("panicked"), "BaseException: panicked (unexpected"),
    "system": (OSError(5, "Input/output error", "lens.bin"), "lens.bin: Input/output error"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_any_exception_costs_its_own_file_one_line(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error, line = FAILURES[kind]
    whole = lapic.encode

    def encode(image: Image.Image, *arguments: object, **settings: object) -> bytes:
        if image.width == 47:
            raise error
        return whole(image, *arguments, **settings)

    monkeypatch.setattr(api, "encode", encode)
    (folder / "in").mkdir()
    for name, width in (("a.png", 48), ("b.png", 47), ("c.png", 46)):
        Image.new("RGB", (width, 20)).save(folder / "in" / name)
    result = run_lapic("encode", folder / "in", folder / "out", "-e", 0, "--quiet", "--json", folder / "m.json")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"lapic: {folder}/in/b.png: {line}")
    statuses = [row["status"] for row in json.loads((folder / "m.json").read_text())]
    assert statuses == ["done", "failed", "done"]
    alone = run_lapic("encode", folder / "in" / "b.png", folder / "b.lapic")
    assert (alone.exit_code, alone.stderr) == (1, result.stderr)


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("lapic.codec.api.decode", ["decode", "o.lapic", "o.png"]),
        ("lapic.codec.command.convert.verify_file", ["verify", "o.lapic"]),
        ("lapic.codec.api.info", ["info", "o.lapic"]),
        ("lapic.codec.api.restore", ["restore", "plain.png", "r.png"]),
        ("lapic.codec.api.translate", ["translate", "plain.png", "t.png", "--model", "grey:1"]),
        ("lapic.codec.evaluation.measure.load_rgb", ["compare", "plain.png", "plain.png"]),
        ("lapic.codec.evaluation.evaluate.evaluate", ["evaluate", "plain.png", "--out", "ev"]),
    ],
)
def test_every_command_has_the_same_boundary(
    place: str, arguments: list[str], coded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TypeError("nobody has foreseen this")

    monkeypatch.chdir(coded)
    monkeypatch.setattr(place, fail)
    monkeypatch.setattr("lapic.codec.evaluation.metrics.usable", lambda wanted, *_: wanted)
    result = run_lapic(*arguments)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    named = "" if arguments[0] == "evaluate" else f"{arguments[1]}: "
    assert result.stderr.startswith(f"lapic: {named}TypeError: nobody has foreseen this (unexpected")


def test_the_environment_can_ask_for_the_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for debug in (None, "", "0"):
        if debug is not None:
            monkeypatch.setenv("LAPIC_DEBUG", debug)
        assert "Traceback" not in run_lapic("info", folder / "plain.png").stderr
    monkeypatch.setenv("LAPIC_DEBUG", "1")
    assert "Traceback" in run_lapic("info", folder / "plain.png").stderr


# ---- streams


def test_a_pipe_is_read_once(coded: Path) -> None:
    found = shell("LAPIC encode -e 0 <(cat plain.png) p.lapic && LAPIC info <(cat p.lapic)", coded)
    assert found.stdout.startswith("48 x 32"), found.stderr
    assert (coded / "p.lapic").read_bytes() == (coded / "o.lapic").read_bytes()


def where(job: batch.Pair) -> dict:
    return {"process": os.getpid(), "bytes": len(files.read_input(str(job.source)))}


def test_what_only_this_process_can_open_is_read_here(folder: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a pipe")
    os.close(writing)
    report = batch.Report()
    pairs = [batch.Pair(str(source), str(folder / "out")) for source in (f"/dev/fd/{reading}", folder / "plain.png")]
    batch.process(pairs, where, lambda pair: pair, 2, False, lambda row: None, report)
    os.close(reading)
    assert len(report.rows) == 2
    rows = {row["source"]: row for row in report.rows}
    assert (rows[f"/dev/fd/{reading}"]["process"], rows[f"/dev/fd/{reading}"]["bytes"]) == (os.getpid(), 6)
    assert rows[str(folder / "plain.png")]["process"] != os.getpid()


def test_a_named_pipe_in_a_folder_is_passed_over(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    result = run_lapic("encode", folder, folder / "out", "-e", 0)
    assert result.exit_code == 0
    assert "1 file left out: 1 not regular files" in result.stderr


def test_a_closed_or_full_standard_error_costs_only_its_text(coded: Path) -> None:
    assert shell("LAPIC encode plain.png a.lapic -e 0 <&- >&- 2>&-", coded).returncode == 0
    assert (coded / "a.lapic").read_bytes() == (coded / "o.lapic").read_bytes()
    assert shell("LAPIC info absent.lapic 2>&-", coded).returncode == 1
    if Path("/dev/full").exists():
        assert shell("LAPIC info absent.lapic 2>/dev/full", coded).returncode == 1


@pytest.mark.parametrize("command", ["info o.lapic", "--help"])
@pytest.mark.parametrize(
    ("end", "reason"), [(">&-", "Bad file descriptor"), ("> /dev/full", "No space left on device")]
)
def test_a_full_or_closed_standard_output_is_one_line(command: str, end: str, reason: str, coded: Path) -> None:
    if end == "> /dev/full" and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    found = shell(f"LAPIC {command} {end}", coded)
    assert (found.returncode, found.stderr) == (1, f"lapic: cannot write to standard output: {reason}\n")


def test_a_reader_that_is_gone_ends_it_quietly(coded: Path) -> None:
    found = shell("{ sleep 0.1; LAPIC info o.lapic; echo $? >&2; LAPIC --help; echo $? >&2; } | true", coded)
    assert found.stderr == "141\n141\n"


def test_standard_output_holds_results_alone(
    coded: Path,
) -> None:
    """Whatever libraries print, in Python or in C."""
    script = (
        "import os\nfrom lapic.codec import api\nwhole = api.info\n"
        "def info(data, **named):\n    print('a library')\n    os.system('echo a child')\n"
        "    return whole(data, **named)\n"
        "api.info = info\nfrom lapic.codec.__main__ import run\nrun()\n"
    )
    command = [sys.executable, "-c", script, "info", "o.lapic", "--json"]
    for debug, printed in (("0", ["a library"]), ("1", ["a child", "a library"])):
        environment = os.environ | {"LAPIC_DEBUG": debug}
        found = subprocess.run(command, cwd=coded, capture_output=True, text=True, env=environment)
        assert json.loads(found.stdout)["width"] == 48
        assert sorted(found.stderr.splitlines()) == printed


def test_the_name_of_standard_output_is_standard_output(coded: Path) -> None:
    found = shell("LAPIC decode o.lapic /dev/stdout --format ppm > o.ppm", coded)
    assert found.returncode == 0, found.stderr
    assert np.array_equal(
        np.asarray(Image.open(coded / "o.ppm")), np.asarray(lapic.decode((coded / "o.lapic").read_bytes()))
    )


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_what_is_called_like_standard_output_is_not_in_the_way(
    make: Callable[[Path], None], coded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(coded)
    make(coded / "-")
    result = run_lapic("decode", "o.lapic", "-", "--skip-existing")
    assert result.stdout_bytes.startswith(b"\x89PNG")
    result = CliRunner().invoke(main, ["verify", "-", "-r"], input=(coded / "o.lapic").read_bytes())
    assert (result.exit_code, result.stderr) == (0, "")


def test_standard_input_is_named_once() -> None:
    assert named("cannot read standard input: Bad file descriptor", "-") == (
        "cannot read standard input: Bad file descriptor"
    )
    assert named("not a lapic file: it is empty", "-") == "standard input: not a lapic file: it is empty"


# ---- names


@pytest.mark.parametrize("names", ["'' o.lapic", "plain.png ''"])
def test_an_empty_name_is_wrong_usage(names: str, folder: Path) -> None:
    found = shell(f"LAPIC encode -e0 {names}", folder)
    assert (found.returncode, found.stderr.splitlines()[-1]) == (2, "Error: a name is empty")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the working folder cannot be removed")
def test_a_working_folder_that_is_gone_is_one_line(folder: Path) -> None:
    found = shell("mkdir gone && cd gone && rmdir ../gone && LAPIC selftest", folder)
    line = "lapic: the working folder cannot be used: No such file or directory\n"
    assert (found.returncode, found.stderr) == (1, line)


def test_a_name_that_is_too_long(folder: Path) -> None:
    alone = run_lapic("encode", folder / "plain.png", folder / f"{LONG}.lapic")
    assert alone.exit_code == 1
    assert alone.stderr == f"lapic: cannot write {folder}/{LONG}.lapic: File name too long\n"
    source = folder / "in"
    source.mkdir()
    for name in ("a", LONG[:250], "z"):
        Image.new("RGB", (9, 9)).save(source / f"{name}.png")
    result = run_lapic("encode", source, folder / "out", "-e", 0, "--quiet")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "File name too long" in result.stderr
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.lapic", "z.lapic"]
    assert run_lapic("decode", LONG, folder / "o.png").stderr == f"lapic: cannot read {LONG}: File name too long\n"


def test_an_unreadable_folder_is_said_and_the_others_are_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "in" / "closed").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(folder / "in" / "a.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    result = run_lapic("encode", "-r", folder / "in", folder / "out", "-e", 0, "--quiet", "--json", folder / "m.json")
    assert result.exit_code == 1
    assert result.stderr == f"lapic: cannot read {folder}/in/closed: Permission denied\n"
    rows = json.loads((folder / "m.json").read_text())
    assert [(row["source"], row["status"]) for row in rows] == [
        (f"{folder}/in/closed", "failed"), (f"{folder}/in/a.png", "done"),
    ]  # fmt: skip
    result = run_lapic("encode", folder / "in" / "closed", folder / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 2)  # the line and the summary


def test_names_are_printed_on_one_line(folder: Path) -> None:
    bad = folder / os.fsdecode(b"two\nlines\x1b[31m\xff.png")
    bad.write_text("no picture")
    for arguments in (("encode", bad, folder / "o.lapic"), ("encode", bad, folder / "plain.png", folder / "out", "-q")):
        result = run_lapic(*arguments, *([50, "-e", 0] if arguments[-1] == "-q" else []))
        assert result.exit_code == 1
        assert "two\\nlines\\x1b[31m\\udcff.png: not a picture" in result.stderr.splitlines()[0]


def test_side_files_are_passed_over_and_counted(folder: Path) -> None:
    (folder / "._plain.png").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    for name in (".DS_Store", "Thumbs.db", "notes.txt"):
        (folder / name).write_text("")
    (folder / ".git").mkdir()
    Image.new("RGB", (9, 9)).save(folder / ".git" / "hidden.png")
    result = run_lapic("encode", "-r", folder, folder / "out", "-e", 0)
    assert result.exit_code == 0
    assert "5 files left out: 3 hidden, 2 not pictures\n" in result.stderr
    assert [path.name for path in (folder / "out").iterdir()] == ["plain.lapic"]
    (folder / "plain.png").unlink()
    result = run_lapic("encode", folder, folder / "out")
    assert result.stderr == f"lapic: there is nothing to do in {folder} (4 files left out: 2 hidden, 2 not pictures)\n"


def test_a_link_is_followed_and_what_it_names_is_whole_or_untouched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, target = folder / "link.lapic", folder / "deep" / "target.lapic"
    target.parent.mkdir()
    link.symlink_to(target)
    assert run_lapic("encode", folder / "plain.png", link, "-e", 0).exit_code == 0  # which named nothing until now
    assert lapic.info(target.read_bytes())["width"] == 48
    assert "exists" in run_lapic("encode", folder / "plain.png", link).stderr
    target.write_bytes(b"old")
    with monkeypatch.context() as patched:

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        patched.setattr(os, "fsync", full)
        assert run_lapic("encode", folder / "plain.png", link, "-f", "-e", 0).exit_code == 1
    assert target.read_bytes() == b"old"
    assert run_lapic("encode", folder / "plain.png", link, "-f", "-e", 0).exit_code == 0
    assert link.is_symlink()
    assert lapic.info(target.read_bytes())["width"] == 48
    assert [path.name for path in target.parent.iterdir()] == ["target.lapic"]


def test_links_in_a_circle_and_to_folders(folder: Path) -> None:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    result = run_lapic("encode", folder / "plain.png", folder / "a", "-f")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "symbolic links" in result.stderr
    (folder / "real").mkdir()
    (folder / "link").symlink_to(folder / "real")
    assert run_lapic("encode", folder / "plain.png", folder / "link", "-e", 0).exit_code == 0
    assert [path.name for path in (folder / "real").iterdir()] == ["plain.lapic"]


def test_what_is_no_regular_file_is_never_replaced(folder: Path) -> None:
    os.mkfifo(folder / "pipe.tif")
    with pytest.raises(lapic.Error, match="no regular file"), files.replacing(folder / "pipe.tif", True):
        pass
    assert (folder / "pipe.tif").is_fifo()


@pytest.mark.parametrize("name", ["photo.jpg", "photo.PNG", "photo.avif", "photo.jxl", "photo.heic"])
def test_names_of_other_formats_are_refused(name: str, coded: Path) -> None:
    result = run_lapic("encode", coded / "plain.png", coded / name)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "--force-format" in result.stderr
    assert not (coded / name).exists()
    assert run_lapic("encode", coded / "plain.png", coded / name, "--force-format", "-e", 0).exit_code == 0
    assert lapic.info((coded / name).read_bytes())["width"] == 48


def test_other_names_are_as_good_as_lapic(coded: Path) -> None:
    for name in ("photo", "photo.LAPIC", "photo.jpg.lapic", "photo.backup"):
        assert run_lapic("encode", coded / "plain.png", coded / name, "-e", 0).exit_code == 0
    for command in (["decode", coded / "o.lapic"], ["restore", coded / "plain.png"]):
        result = run_lapic(*command, coded / "new.lapic", "--format", "png")
        assert (result.exit_code, "--force-format" in result.stderr) == (1, True)
        assert not (coded / "new.lapic").exists()


def test_a_format_and_a_name_that_differ_are_refused(coded: Path) -> None:
    def decode(name: str, *more: str) -> Result:
        return run_lapic("decode", coded / "o.lapic", coded / name, "--format", "webp", *more)

    result = decode("other.jpg")
    assert (result.exit_code, "a webp should not be called .jpg" in result.stderr) == (1, True)
    assert not (coded / "other.jpg").exists()
    for name, more in (("other.jpg", ["--force-format"]), ("other.WEBP", []), ("other.backup", [])):
        assert decode(name, *more).exit_code == 0
        assert (coded / name).read_bytes()[8:12] == b"WEBP"


# ---- signals


@pytest.mark.parametrize(
    ("kind", "jobs", "delay"),
    [(signal.SIGINT, 1, 0.1), (signal.SIGINT, 1, 2), (signal.SIGINT, 2, 2.5), (signal.SIGTERM, 1, 0.4)],
)
def test_a_signal_at_any_moment_is_one_line_and_leaves_nothing(
    kind: signal.Signals, jobs: int, delay: float, tmp_path: Path
) -> None:
    """From the first import on: the process says by a file that Python itself is up."""
    noise = np.random.default_rng(1).integers(0, 256, (700, 900, 3), np.uint8)
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.fromarray(noise).save(tmp_path / "in" / f"{name}.bmp")
    script = (
        "import lapic.codec.__main__ as command, pathlib, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which background shells hand down ignored
        "answer = command.interrupts.end_on_signals\n"
        "command.interrupts.end_on_signals = lambda: (answer(), pathlib.Path('up').touch())\n"
        "command.run()\n"
    )
    asked = ["in/a.bmp", "o.lapic"] if jobs == 1 else ["in", "out", "-j", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, "encode", *asked, "-e", "9", "--quiet"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (tmp_path / "up").exists():
        time.sleep(0.01)
    time.sleep(delay)
    os.killpg(process.pid, kind)  # as a terminal does
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + kind, error
    assert len(error.splitlines()) == 1
    assert error.startswith(f"lapic: {'interrupted' if kind == signal.SIGINT else 'ended by SIGTERM'}")
    assert not (tmp_path / "o.lapic").exists()
    assert not list(tmp_path.rglob(".lapic-*"))


def test_an_interruption_that_a_library_turns_into_an_error_is_one_all_the_same(folder: Path) -> None:
    script = (
        "import os, signal\nfrom lapic.codec import api\n"
        "def encode(*_, **__):\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGINT)\n        import time; time.sleep(10)\n"
        "    except BaseException:\n        raise ImportError('half of a module')\n"
        "api.encode = encode\nfrom lapic.codec.__main__ import run\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nrun()\n"
    )
    command = [sys.executable, "-c", script, "encode", "plain.png", "plain.png", "out", "--json", "m.json"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (130, "lapic: interrupted; --skip-existing goes on from here\n")
    assert json.loads((folder / "m.json").read_text()) == []
