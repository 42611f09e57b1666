"""What is installed: the wheel in an environment of its own, beside the package `bitstream` of somebody else."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEFT_OUT = (
    ".git",
    ".venv",
    "out",
    "build",
    "dist",
    "node_modules",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
)
PAGE = {"index.html", "lapic.js", "licenses/libaom.txt", "packs/packs.json", "packs/photo/pack.json"}  # in short
PACKAGES = ("bitstream", "codec", "training")
USE = """
import sys
from pathlib import Path
import bitstream, lapic
from PIL import Image
assert bitstream.somebody_elses
assert Path(lapic.__file__).is_relative_to(sys.prefix), lapic.__file__
image = Image.open(sys.argv[1])
decoded = lapic.decode(lapic.encode(image, effort=0))
assert decoded.size == image.size
print(lapic.__version__)
"""


def run(*command: object, cwd: Path) -> str:
    """What a command prints, without the paths and variables that lead to the repository."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout


def build_wheel(source: Path, into: Path) -> Path:
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", into, source, cwd=into)
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, for building leaves files behind."""
    copy = tmp_path_factory.mktemp("tree") / "lapic"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for name in (*PAGE, "lapic.js.map"):
        path = copy / "web" / "dist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tree, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    build = "import sys\nfrom setuptools.build_meta import build_sdist\nprint(build_sdist(sys.argv[1]))"
    return folder / run(sys.executable, "-c", build, folder, cwd=tree).splitlines()[-1]


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment with the wheel and a package `bitstream`, and what lapic depends on from here."""
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip())
    (packages / "bitstream").mkdir()
    (packages / "bitstream" / "__init__.py").write_text("somebody_elses = True\n")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ("install", "--no-deps", "--no-index", "--ignore-installed", "--quiet", wheel)
    run(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", *install, cwd=home)
    return python


def test_the_wheel_codes_a_photo(python: Path, tmp_path: Path) -> None:
    version = run(python, "-c", USE, ROOT / "examples" / "rocket.jpg", cwd=tmp_path).strip()
    assert run(python.with_name("lapic"), "--version", cwd=tmp_path).splitlines()[0] == f"lapic {version}"


def test_the_wheel_has_one_name_and_all_modules(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lapic"}
    modules = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert {f"lapic/{name}" for name in modules} | {"lapic/__init__.py", "lapic/__main__.py"} == {
        name for name in names if name.endswith(".py")
    }
    data = [path for part in ("golden", "weights", "evaluation/data") for path in (ROOT / "codec" / part).rglob("*")]
    assert {f"lapic/{path.relative_to(ROOT).as_posix()}" for path in data if path.is_file()} <= set(names)
    assert "lapic/py.typed" in names


def test_the_wheel_has_the_page(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.removeprefix("lapic/page/") for name in names if name.startswith("lapic/page/")} == PAGE


def test_the_sdist_has_what_the_tests_need_and_makes_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = [path for path in tmp_path.iterdir() if path.is_dir()]
    there = {path.relative_to(source).as_posix() for path in source.rglob("*")}
    tracked = [
        path for folder in ("benchmarks", "docs", "examples", "results", "tests") for path in (ROOT / folder).rglob("*")
    ]
    wanted = {path.relative_to(ROOT).as_posix() for path in tracked if "__pycache__" not in path.parts}
    assert not wanted - there
    assert {
        "web/page/index.html",
        "Makefile",
        "constraints.txt",
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        ".ci/run",
    } <= there
    assert not {f"lapic/{package}" for package in PACKAGES} & there
    again = build_wheel(source, tmp_path)
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())
