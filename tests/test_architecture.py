"""How the packages are laid out, and what importing them costs."""

import subprocess
import sys
import tomllib
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ["sympy", "compressai", "torchvision", "lightning_fabric", "pandas", "torch_geometric", "scipy", "matplotlib"]
MOST_FLOORS, MOST_ROOMS, MOST_LINES = 12, 25, 320


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_coding_imports_none_of_torchs_heavy_friends() -> None:
    work = "import lapic\nfrom PIL import Image\nlapic.decode(lapic.encode(Image.new('RGB', (20, 20)), 50))"
    modules = loaded_after(work)
    assert not modules & {*HEAVY, "psutil"}
    assert "lapic.codec.decode.decoder" in modules


def test_help_does_not_even_import_torch() -> None:
    modules = loaded_after(
        "from click.testing import CliRunner\nfrom lapic.codec.cli import main\nCliRunner().invoke(main, ['-h'])"
    )
    assert "torch" not in modules
    assert "lapic.codec.cli" in modules


def test_importing_lapic_imports_neither_torch_nor_pillow() -> None:
    assert not loaded_after("import lapic") & {"torch", "PIL"}


def test_a_batch_leaves_torch_to_its_processes() -> None:
    """The process that hands out the files would else load it for nothing, which takes as long as several photos."""
    assert "torch" not in loaded_after("from lapic.codec.command import batch, convert, options, restore, workers")


def test_layers_hold() -> None:
    found = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("lapic", cache_dir=None)


def levels(imports: dict[str, set[str]]) -> dict[str, int]:
    """How many floors up each stands on what it imports; raises CycleError for a loop."""
    found: dict[str, int] = {}
    for name in TopologicalSorter(imports).static_order():
        found[name] = 1 + max((found[other] for other in imports[name]), default=0)
    return found


def test_no_modules_import_each_other_in_a_loop() -> None:
    names = graph().modules
    assert len(names) > 100
    levels({name: graph().find_modules_directly_imported_by(name) for name in names})


def test_codec_has_few_rooms_on_few_floors() -> None:
    """A room is a package or a module directly in lapic.codec."""

    def room(module: str) -> str:
        return ".".join(module.split(".")[:3])

    inside = graph().find_descendants("lapic.codec")
    imports: dict[str, set[str]] = {room(module): set() for module in inside}
    for module in inside:
        others = {room(other) for other in graph().find_modules_directly_imported_by(module) if other in inside}
        imports[room(module)] |= others - {room(module)}
    floors = levels(imports)
    assert len(floors) <= MOST_ROOMS, sorted(floors)
    assert max(floors.values()) <= MOST_FLOORS, sorted(floors.items(), key=lambda item: item[1])


@pytest.mark.parametrize("package", ["bitstream", "codec", "training"])
def test_modules_hold_one_idea(package: str) -> None:
    for module in (ROOT / package).rglob("*.py"):
        assert len(module.read_text().splitlines()) <= MOST_LINES, module


def test_every_package_is_installed() -> None:
    """Each folder with modules is named in pyproject.toml, or the wheel would lack it."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for package in ("bitstream", "codec", "training") for path in (ROOT / package).rglob("*.py")}
    assert set(named) == {"lapic", *("lapic." + ".".join(path.relative_to(ROOT).parts) for path in folders)}


@pytest.mark.parametrize("path", sorted((ROOT / "codec" / "weights").glob("*")))
def test_weights_are_small_enough(path: Path) -> None:
    assert path.stat().st_size <= 16 * 2**20
