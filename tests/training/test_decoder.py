import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lapic.bitstream import Error, read
from lapic.codec.decode import decoder
from lapic.codec.defaults import DEFAULT_MODEL
from lapic.codec.encode import encoder
from lapic.codec.metrics import psnr
from lapic.codec.model.codec_weights import load
from lapic.codec.model.shipped import WEIGHTS
from lapic.codec.model.weights_file import read_weights
from lapic.training.codec import validate
from lapic.training.decoder import DecoderOptions, TrainableSynthesis, recipe
from lapic.training.export import export_synthesis
from lapic.training.latents import EFFORT
from lapic.training.loop import train
from tests.conftest import EXAMPLES


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a run of a few steps."""
    out = tmp_path_factory.mktemp("decoder")
    options = DecoderOptions(
        data=EXAMPLES, out=out / "run", steps=3, batch=2, patch=64, decay=1, log_every=1, warmup=1,
        precision="32-true", accelerator="cpu", learning_rate=1e-3, average=0.0,
    )  # fmt: skip
    train(options, lambda part: recipe(options, part))
    path, identity = export_synthesis(out / "run" / "checkpoint.pt", "mine", folder=out / "new", crops=2)
    assert identity == load().identity
    return path


def test_nothing_but_the_synthesis_and_what_it_bends_changes(exported: Path) -> None:
    old, before = read_weights(WEIGHTS / f"{DEFAULT_MODEL}.safetensors")
    new, after = read_weights(exported)
    assert before["id"] == after["id"]
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed
    bent = ("curvature", "transforms.synthesis.", "scales.synthesis.")
    assert all(name.startswith(bent) for name in changed)
    assert json.loads(after["card"])["highest"] == json.loads(before["card"])["highest"] != "100"


def test_a_file_made_before_decodes_with_the_new_weights(exported: Path, coffee: np.ndarray) -> None:
    header, tiles = read(encoder.encode_pixels(load(), coffee, 40))
    old, new = (decoder.decode_pixels(model, header, tiles) for model in (load(), load(str(exported))))
    assert not np.array_equal(old, new)
    assert psnr(old, new) > 30


def test_the_bits_are_those_of_the_file(coffee: np.ndarray) -> None:
    model = TrainableSynthesis(DEFAULT_MODEL).eval()
    part = coffee[:192, :256].copy()
    with torch.no_grad():
        found = model(torch.from_numpy(part).permute(2, 0, 1)[None], torch.tensor([40 * 256]))
    file = encoder.encode_pixels(load(), part, 40, effort=EFFORT)
    payload = 8 * sum(len(tile.payload) for tile in read(file)[1])
    assert (found.bits_y + found.bits_z).item() == pytest.approx(payload, rel=0.02)


def test_the_objective_reaches_the_synthesis(tmp_path: Path) -> None:
    found = []
    for objective in ("psnr", "eye"):
        options = DecoderOptions(
            data=EXAMPLES, out=tmp_path / objective, objective=objective, steps=1, batch=1, patch=64,
            warmup=0, precision="32-true", accelerator="cpu", average=0.0,
        )  # fmt: skip
        found.append(train(options, lambda part, plan=options: recipe(plan, part)).net.leave.weight)
    assert not torch.equal(*found)


def test_the_search_follows_what_is_learned(coffee: np.ndarray) -> None:
    model = TrainableSynthesis(DEFAULT_MODEL).eval()
    picture = torch.from_numpy(coffee[:128, :128].copy()).permute(2, 0, 1)
    before = validate(model, [picture])
    assert before == validate(model, [picture])
    with torch.no_grad():
        model.net.leave.bias += 0.02
    assert model.eval()(picture[None], torch.tensor([256 * 50])).bits_y.item() > 0
    assert torch.equal(model.encoder.transforms.synthesis.leave.bias, model.net.leave.bias.to(model.encoder.dtype))
    assert validate(model, [picture])["psnr@75"] < before["psnr@75"]


def test_an_export_reads_the_data_that_is_given_and_the_codec_of_the_run(exported: Path, tmp_path: Path) -> None:
    run = exported.parents[1] / "run"
    (tmp_path / "checkpoint.pt").symlink_to(run / "checkpoint.pt")
    described = json.loads((run / "options.json").read_text())
    (tmp_path / "options.json").write_text(json.dumps(described | {"data": str(tmp_path / "gone")}))
    path, identity = export_synthesis(tmp_path / "checkpoint.pt", "mine", EXAMPLES, tmp_path, crops=2)
    assert identity == load().identity
    made, before = load_file(path), load_file(exported)
    assert made.keys() == before.keys()
    assert all(torch.equal(made[name], before[name]) for name in made)
    (tmp_path / "options.json").write_text(json.dumps(described | {"identity": "00000000"}))
    with pytest.raises(Error, match="has changed since this run started"):
        export_synthesis(tmp_path / "checkpoint.pt", "mine", EXAMPLES, tmp_path, crops=2)
    (tmp_path / "options.json").write_text(json.dumps(described | {"model": str(exported)}))  # an export replaced it
    export_synthesis(tmp_path / "checkpoint.pt", "again", EXAMPLES, tmp_path, crops=2)
