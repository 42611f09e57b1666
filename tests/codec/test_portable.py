"""What Windows, macOS and processors of ARM lack or do otherwise, simulated here."""

import errno
import io
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path, PureWindowsPath
from types import FrameType
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from lapic.bitstream import Error
from lapic.codec import cli, files, host, streams
from lapic.codec.cli import main
from lapic.codec.command.batch import plan
from lapic.codec.command.serve import Site
from lapic.codec.command.workers import run
from lapic.codec.evaluation.report import _inline
from lapic.codec.exact import products
from lapic.codec.files import remote

ROOT = Path(__file__).parents[2]
LIBRARY = """
from torch import library
schemas = library.Library("torchvision", "FRAGMENT")
schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
WITHOUT_ONEDNN = """
import torch

def missing(*arguments):
    raise RuntimeError("ATen not compiled with MKLDNN support")

torch._C._set_mkldnn_enabled(False)
torch._C._set_mkldnn_enabled = lambda enabled: None
torch.backends.mkldnn.is_available = lambda: False
torch.cpu._is_vnni_supported = lambda: False
torch.mkldnn_convolution = torch._int_mm = missing
torch.ops.mkldnn = None
from lapic.codec.selftest import trials

found = list(trials())
for trial in found:
    print(trial.what, trial.found)
assert all(trial.passed for trial in found), found
print("this machine decodes exactly")
"""


def python(*arguments: str, cwd: Path, **variables: str) -> str:
    """What Python prints to standard output."""
    environment = os.environ | variables
    found = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True)
    assert found.returncode == 0, found.stderr.decode()
    return found.stdout.decode("cp1252")


def test_a_torchvision_whose_library_loads_beside_torch_without_cuda(tmp_path: Path) -> None:
    """As on macOS, Windows and ARM: a second definition of its operators would end the process."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(LIBRARY)
    use = "from lapic.codec.compat import import_torchvision\nprint(import_torchvision().__file__)"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    assert python("-c", use, cwd=tmp_path, PYTHONPATH=path).strip() == str(tmp_path / "torchvision" / "__init__.py")


def test_a_torchvision_that_does_not_fit_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lapic.codec.compat import import_torchvision

    (tmp_path / "torchvision.py").write_text("raise RuntimeError('of another torch')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(RuntimeError, match="of another torch"):
        import_torchvision()


def test_a_clone_without_symbolic_links(tmp_path: Path) -> None:
    """Git writes where a link leads to as a text, on Windows by default."""
    clone = tmp_path / "lapic"
    clone.mkdir()
    for path in (ROOT / "lapic").iterdir():
        if path.is_symlink():
            (clone / path.name).write_text(os.readlink(path))
        elif path.is_file():
            (clone / path.name).write_bytes(path.read_bytes())
    for name in ("bitstream", "codec", "training"):
        (tmp_path / name).symlink_to(ROOT / name)
    found = python("-c", "import lapic, lapic.training\nprint(lapic.codec.__file__)", cwd=tmp_path).strip()
    assert found == str(tmp_path / "codec" / "__init__.py")


def die(_: int) -> dict[str, Any]:
    os._exit(3)


def finish(marker: str) -> dict[str, Any]:
    time.sleep(20)
    Path(marker).touch()
    return {}


def test_a_worker_that_dies_where_there_is_no_sigkill(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[int, Any] = {}
    with monkeypatch.context() as patch:
        patch.delattr(signal, "SIGKILL")
        run([(die, 0)], 1, found.__setitem__)
    assert found == {0: {"error": "the process that ran it died"}}


class Deaf(queue.SimpleQueue):
    """A queue as on Windows: no signal ends a wait without a limit."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if timeout is not None or not block:
            return super().get(block, timeout)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        try:
            return super().get()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def test_an_interruption_is_noticed_before_a_file_is_finished(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(queue, "SimpleQueue", Deaf)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        with pytest.raises(KeyboardInterrupt):
            run([(finish, str(tmp_path / "finished"))], 1, lambda number, outcome: None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not (tmp_path / "finished").exists()


@pytest.mark.parametrize("variable", ["ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"])
def test_products_are_exact_where_onednn_may_compute_in_bfloat16(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On ARM this variable makes float32 products of bfloat16."""
    multiply = torch.matmul

    def on_arm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return multiply(a.bfloat16().float(), b.bfloat16().float()) if a.dtype == torch.float32 else multiply(a, b)

    weight, x = torch.randint(-127, 128, (5, 64)).float(), torch.randint(0, 2048, (1, 64, 33)).float()
    expected = weight @ x
    monkeypatch.setattr(products, "_multiplies_bytes", lambda: False)
    monkeypatch.setattr(torch, "matmul", on_arm)
    assert not torch.equal(products.product(weight, x), expected)
    monkeypatch.setenv(variable, "bf16")
    assert torch.equal(products.product(weight, x), expected)
    assert not products.convolves(x)
    for harmless in ("", "STRICT", "strict"):
        monkeypatch.setenv(variable, harmless)
        assert host.keeps_float32("cpu")


def test_the_golden_files_without_onednn_and_vectors(tmp_path: Path) -> None:
    """As PyTorch on Apple's processors, and on those of x86 without AVX2."""
    found = python("-c", WITHOUT_ONEDNN, cwd=tmp_path, ATEN_CPU_CAPABILITY="default", OMP_NUM_THREADS="1")
    assert [line[:26] for line in found.splitlines()] == ["cpu, float32, 1 thread(s) ", "this machine decodes exact"]


def on_windows(monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """What `local_name` makes of a name on Windows."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        return files.local_name(name)


def test_drives_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(map(files.is_address, (r"C:\photo.png", "C:/photo.png", "C://photo.png")))
    assert on_windows(monkeypatch, "file:///C:/a/photo.png") == "C:/a/photo.png"
    assert on_windows(monkeypatch, "file://localhost/C:/a/photo.png") == "C:/a/photo.png"
    assert on_windows(monkeypatch, "file:///a/photo.png") == "/a/photo.png"
    assert files.local_name("file:///C:/a/photo.png") == "/C:/a/photo.png"


def test_patterns_where_the_shell_leaves_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """click alone would take photo[1].png for photo1.png."""
    for name in ("photo1.png", "photo2.png", "photo[1].png"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    given = ["view", "photo[1].png", "photo?.png", "none*.png", "~/a.png", "s3://bucket/*.png", "C:photo.png"]
    monkeypatch.setattr(sys, "argv", ["lapic", *given])
    assert cli._arguments() == given
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        found = cli._arguments()
    assert found == [
        "view", "photo[1].png", "photo1.png", "photo2.png", "none*.png", "/home/me/a.png", "s3://bucket/*.png",
        "C:photo.png",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [r"x\..\..\a.png", "C:a.png", r"C:\a.png", r"\\host\share\a.png", r"\a.png"])
def test_names_of_objects_do_not_lead_out_of_the_output(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may have any characters, of which Windows makes paths."""
    assert files.target_of("out", "deep/a.png", ".lapic") == str(Path("out/deep/a.lapic"))
    monkeypatch.setattr(files, "Path", PureWindowsPath)
    assert files.target_of("out", "deep/a.png", ".lapic") == r"out\deep\a.lapic"
    with pytest.raises(Error, match="is no name for a file in out"):
        files.target_of("out", name, ".lapic")


def test_an_object_with_such_a_name_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (r"x\..\..\a.png", "b.png"):
        remote.write(f"memory://windows/{name}", b"", force=True)
    monkeypatch.setattr(files, "Path", PureWindowsPath)
    made = plan(["memory://windows"], "out", {".png"}, ".lapic", recursive=False)
    assert [pair.target for pair in made.pairs] == [r"out\b.lapic"]
    assert list(made.failed) == [r"memory://windows/x\..\..\a.png"]


def test_the_page_serves_nothing_beside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    for name in ("page/index.html", "secret.txt"):
        (tmp_path / name).touch()
    site = Site(tmp_path / "page", [])
    monkeypatch.setattr(os, "sep", "\\")
    assert site.find(f"/{site.token}/index.html") is not None
    for name in ("x%2f..%2f..%2fsecret.txt", "x%5c..%5c..%5csecret.txt", "C%3asecret.txt"):
        assert site.find(f"/{site.token}/{name}") is None
    (tmp_path / "page" / "x").mkdir()
    assert site.find(f"/{site.token}/x%2f..%2f..%2fsecret.txt") is None


@pytest.mark.parametrize(("first", "second"), [("A", "a"), ("\u00e9", "e\u0301"), ("\u00c9", "e\u0301")])
def test_two_outputs_that_are_one_file_where_capitals_do_not_count(
    first: str, second: str, photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in (("x", first), ("y", second)):
        (tmp_path / folder).mkdir()
        photo.crop((0, 0, 32, 32)).save(tmp_path / folder / f"{name}.png")
    out = tmp_path / "out"
    arguments = ["encode", "-e", "0", "--force", str(tmp_path / "x"), str(tmp_path / "y"), str(out)]
    monkeypatch.setattr(files, "ignores_case", lambda folder: folder == str(out))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "would both become" in result.output
    assert not out.exists()
    monkeypatch.setattr(files, "ignores_case", lambda folder: False)
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert len(list(out.iterdir())) == 2


def test_whether_a_folder_ignores_capitals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    assert files.ignores_case(str(tmp_path / "new" / "deep")) == (tmp_path / "A").exists()
    alike = lambda path: str(path).lower() in [str(other).lower() for other in tmp_path.iterdir()]  # noqa: E731
    monkeypatch.setattr(os.path, "exists", alike)
    assert files.ignores_case(str(tmp_path / "new"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def refuse(**options: Any) -> None:
        raise PermissionError

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    assert not files.ignores_case(str(tmp_path))


class Closed(io.RawIOBase):
    """A pipe of Windows that nobody reads."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_a_reader_that_is_gone_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_results", Closed())
    with pytest.raises(Error, match="cannot write to standard output: Invalid argument"):
        streams.write("x")
    code = None
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        try:
            streams.write("x")
        except SystemExit as end:
            code = end.code
        except Error:
            pass
    assert code == streams.BROKEN_PIPE


def test_no_temporary_file_stays_beside_one_that_is_read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Windows neither replaces nor removes such files."""

    def guarded(function: Any) -> Any:
        def call(*paths: Any, **options: Any) -> None:
            for path in map(Path, paths):
                if path.exists() and not path.stat().st_mode & 0o200:
                    raise PermissionError(errno.EACCES, "Access is denied", str(path))
            function(*paths, **options)

        return call

    path = tmp_path / "photo.lapic"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with monkeypatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(os, name, guarded(getattr(os, name)))
        with pytest.raises(Error, match=r"cannot write .*photo.lapic: Access is denied"):
            files.write_output(str(path), b"new")
    assert [one.name for one in tmp_path.iterdir()] == ["photo.lapic"]
    assert path.read_bytes() == b"old"


def test_names_that_the_output_cannot_encode(tmp_path: Path) -> None:
    model = ROOT / "codec" / "weights" / "fast.safetensors"
    (tmp_path / "\u5199.safetensors").symlink_to(model)
    variables = {"LAPIC_MODELS": str(tmp_path), "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    assert "own model \\u5199 " in python("-m", "lapic", "--version", cwd=ROOT, **variables)


def test_plots_with_names_in_the_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened = io.open

    def on_windows(file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, *more: Any) -> Any:
        encoding = "cp1252" if "b" not in mode and encoding in (None, "locale") else encoding
        return opened(file, mode, buffering, encoding, *more)

    path = tmp_path / "plot.svg"
    path.write_text('<?xml version="1.0"?><svg>\u00c1</svg>', encoding="utf-8")
    monkeypatch.setattr(io, "open", on_windows)
    assert _inline(path) == "<svg>\u00c1</svg>"
