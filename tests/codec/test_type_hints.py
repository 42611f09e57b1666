"""What a type checker tells a program that calls lapic."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CALLS = """
import lapic
from lapic.codec.realtime import RealtimeDecoder, RealtimeEncoder

reveal_type(lapic.decode)
reveal_type(lapic.encode)
reveal_type(lapic.salvage)
reveal_type(lapic.restore)
reveal_type(lapic.translate)
reveal_type(RealtimeDecoder)
reveal_type(RealtimeEncoder.__call__)
lapic.encode("no image", qualty=3)
lapic.decode(5).nonsense()
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What mypy says of each line of `CALLS`."""
    script = tmp_path_factory.mktemp("calls") / "calls.py"
    script.write_text(CALLS)
    command = [sys.executable, "-m", "mypy", "--no-error-summary", script]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    found = {line: "" for line in CALLS.split("\n")}
    for line in lines:
        _, number, text = line.split(":", 2)
        found[CALLS.split("\n")[int(number) - 1]] += text
    return found


def test_public_functions_have_types(told: dict[str, str]) -> None:
    for call, text in told.items():
        if call.startswith("reveal_type"):
            assert 'Revealed type is "def (' in text, call
    assert "-> PIL.Image.Image" in told["reveal_type(lapic.decode)"]
    assert "pixels: torch._tensor.Tensor" in told["reveal_type(RealtimeEncoder.__call__)"]


def test_wrong_calls_are_refused(told: dict[str, str]) -> None:
    encode, decode = told['lapic.encode("no image", qualty=3)'], told["lapic.decode(5).nonsense()"]
    assert 'Unexpected keyword argument "qualty"' in encode
    assert 'incompatible type "str"; expected "Image"' in encode
    assert 'incompatible type "int"' in decode
    assert '"Image" has no attribute "nonsense"' in decode
