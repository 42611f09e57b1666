"""A realistic decoder is taken over to a codec whose features have drifted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from lapic.bitstream import Error
from lapic.codec.decode.realism import REALISM, config_for
from lapic.codec.defaults import DEFAULT_MODEL
from lapic.codec.model import translator_weights
from lapic.codec.model.codec_weights import Model, load
from lapic.codec.nets.translator import Translator
from lapic.training import transfer
from lapic.training.cli import main
from lapic.training.realism import decode_frozen
from tests.conftest import EXAMPLES

SHIPPED = REALISM / f"{DEFAULT_MODEL}.safetensors"
FEW = {"crops": 20, "edge": 64}


def seen(path: Path, features: torch.Tensor) -> torch.Tensor:
    net, _ = translator_weights.read(str(path))
    assert isinstance(net, Translator)
    assert net.see is not None
    with torch.no_grad():
        return net.see(features)


def test_a_codec_that_stayed_the_same_loses_nothing(coffee: np.ndarray, tmp_path: Path) -> None:
    before, after = transfer.transfer(
        DEFAULT_MODEL, DEFAULT_MODEL, SHIPPED, EXAMPLES, tmp_path / "a.safetensors", **FEW
    )
    assert before < 1e-6
    assert after < 0.01
    pixels = torch.from_numpy(coffee[:128, :128].copy()).permute(2, 0, 1)[None]
    _, features, _ = decode_frozen(load(dtype=torch.float32), pixels, torch.tensor([40 * 256]))
    old, new = (seen(path, features) for path in (SHIPPED, tmp_path / "a.safetensors"))
    assert (old - new).square().mean() < 0.01 * old.var()


def test_features_that_drifted_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The features of every second call, which are those of the new codec, come mixed."""
    mix = torch.eye(128) + 0.05 * torch.randn(128, 128, generator=torch.Generator().manual_seed(0))
    calls = []

    def drifting(model: Model, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        calls.append(model)
        picture, features, latent = decode_frozen(model, *given)
        return picture, torch.einsum("oc,bchw->bohw", mix, features) if len(calls) % 2 == 0 else features, latent

    monkeypatch.setattr(transfer, "decode_frozen", drifting)
    before, after = transfer.transfer(
        DEFAULT_MODEL, DEFAULT_MODEL, SHIPPED, EXAMPLES, tmp_path / "a.safetensors", **FEW
    )
    assert before > 0.05
    assert after < 0.1 * before


def test_it_goes_from_one_generation_to_another(coffee: np.ndarray, tmp_path: Path) -> None:
    """The features of the second lie at half of the resolution."""
    out = tmp_path / "fast.safetensors"
    before, after = transfer.transfer(
        DEFAULT_MODEL, "fast", SHIPPED, EXAMPLES, out, lowest=20, highest=40, crops=20, edge=128
    )
    assert before == 1
    assert after < 0.9
    net, card = translator_weights.read(str(out))
    codec = load("fast", dtype=torch.float32)
    usual = config_for(codec.config)
    assert (net.config.widths, net.config.blocks) == (config_for(load().config).widths, (2, 2))  # those of the old one
    assert (net.config.tasks, net.config.beside, net.config.finer) == (usual.tasks, usual.beside, usual.finer)
    pixels, quality = torch.from_numpy(coffee[:128, :256].copy()).permute(2, 0, 1)[None], torch.tensor([30 * 256])
    (_, old, _), (_, new, _) = (decode_frozen(load(name, dtype=torch.float32), pixels, quality)
                                for name in (DEFAULT_MODEL, "fast"))  # fmt: skip
    wanted, _ = translator_weights.read(str(SHIPPED))
    found, expected = net.seen(new), wanted.seen(old)
    assert (found - expected).square().mean() < 0.9 * expected.var()
    assert card["model"] == codec.identity.hex()


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "b.safetensors"
    arguments = ["transfer", DEFAULT_MODEL, "photo-high", str(SHIPPED), str(out), "--data", str(EXAMPLES)]
    found = CliRunner().invoke(main, [*arguments, "--lowest", "60", "--crops", "10"])
    assert found.exit_code == 0, found.output
    with safe_open(out, framework="numpy") as file:
        assert json.loads(file.metadata()["card"])["model"] == load("photo-high").identity.hex()
    found = CliRunner().invoke(main, [*arguments, "--lowest", "90", "--highest", "60"])
    assert found.exit_code == 1
    assert "is above the highest, 60" in found.output
    arguments[1] = "photo"
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 1
    assert "is the realistic decoder of another model than photo" in found.output
    arguments[1] = DEFAULT_MODEL
    arguments[3] = str(translator_weights.TRANSLATORS / "jpeg.safetensors")
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 1
    assert "is not a realistic decoder" in found.output


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"cannot write .*: No such file or directory"):
        transfer.transfer(DEFAULT_MODEL, "fast", SHIPPED, tmp_path, tmp_path / "none" / "a.safetensors", **FEW)
