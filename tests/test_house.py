"""Rules of the house that no other test would notice."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ["compressai", "torchvision", "lightning_fabric", "pandas", "torch_geometric", "scipy", "matplotlib"]


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_coding_imports_none_of_torchs_heavy_friends() -> None:
    work = "import io, lapic\nfrom PIL import Image\nlapic.decode(lapic.encode(Image.new('RGB', (20, 20)), 50))"
    assert not loaded_after(work) & set(HEAVY)


def test_help_does_not_even_import_torch() -> None:
    modules = loaded_after(
        "from click.testing import CliRunner\nfrom lapic.codec.cli import main\nCliRunner().invoke(main, ['-h'])"
    )
    assert "torch" not in modules
    assert "lapic.codec.cli" in modules


def test_layers_hold() -> None:
    found = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_modules_hold_one_idea() -> None:
    for package in ("bitstream", "codec", "training"):
        for module in (ROOT / package).rglob("*.py"):
            assert len(module.read_text().splitlines()) <= 320, module


@pytest.mark.parametrize("path", sorted((ROOT / "codec" / "weights").glob("*")))
def test_weights_are_small_enough(path: Path) -> None:
    assert path.stat().st_size <= 16 * 2**20
