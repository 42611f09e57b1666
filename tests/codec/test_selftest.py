import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lapic import bitstream
from lapic.codec import selftest
from lapic.codec.cli import main
from lapic.codec.model.codec_weights import Model, load, load_by_id
from lapic.codec.model.shipped import SERVED


def test_this_machine_decodes_exactly() -> None:
    result = CliRunner().invoke(main, ["selftest"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[-1] == "this machine decodes exactly"
    assert any("cpu, float32, 1 thread(s)" in line for line in lines)


def test_a_machine_that_drifts_is_found() -> None:
    """One weight of the hyper-synthesis off by one, as if a device rounded wrongly."""

    def drifting(model_id: bytes) -> Model:
        model = load_by_id(model_id, dtype=torch.float32)
        integers = {name: tensor.clone() for name, tensor in model.integers.items()}
        integers["point4.weight"][10, 20] += 1
        integers["point3.bias"] += 1
        return dataclasses.replace(model, integers=integers)

    trial = selftest._trial(drifting, torch.float32, "a drifting machine")
    assert not trial.passed
    assert "checksum" in trial.found


def test_other_pixels_are_found() -> None:
    def blurred(model_id: bytes) -> Model:
        model = load_by_id(model_id, dtype=torch.float32)
        return dataclasses.replace(model, centroid=model.centroid + 0.3)

    trial = selftest._trial(blurred, torch.float32, "a wrong synthesis")
    assert not trial.passed


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_gpu_and_cpu_find_the_same_symbols() -> None:
    for name in selftest.golden():
        data = (selftest.GOLDEN / name).read_bytes()
        needed = bitstream.read_header(data).model
        found = {selftest.symbols_digest(data, load_by_id(needed, device)) for device in ("cpu", "cuda")}
        assert len(found) == 1


def test_version_names_the_models() -> None:
    text = CliRunner().invoke(main, ["--version"]).stdout
    assert text.splitlines()[0].startswith("lapic ")
    for name in SERVED:
        assert f"model {name} {load(name).identity.hex()}" in text


def test_shell_completion_knows_the_commands() -> None:
    environment = {**os.environ, "_LAPIC_COMPLETE": "bash_complete", "COMP_WORDS": "lapic ver", "COMP_CWORD": "1"}
    code = "from lapic.codec.cli import main; main(prog_name='lapic')"
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout
    assert found.strip() == "plain,verify"


def test_golden_files_have_every_feature() -> None:
    headers = {name: bitstream.read((selftest.GOLDEN / name).read_bytes())[0] for name in selftest.golden()}
    kinds = {kind for header in headers.values() for kind in [*header.chunks, *header.chunk_sizes]}
    assert {b"iccp", b"exif", b"xmpd", b"alph", b"mode", b"note"} <= kinds
    assert {header.pixel_format for header in headers.values()} == set(bitstream.PixelFormat)
    assert {header.tile for header in headers.values()} >= {0, 64, 1024}
    flags = {tile.payload[0] for name in headers for tile in bitstream.read((selftest.GOLDEN / name).read_bytes())[1]}
    assert np.bitwise_or.reduce(list(flags)) & 2, "escapes"
