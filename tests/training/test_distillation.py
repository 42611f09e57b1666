"""A model of the second generation that learns from the latents of one of the first."""

import csv
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from lapic.codec.nets import second
from lapic.codec.nets.config import SECOND
from lapic.codec.nets.network import Transforms
from lapic.training import codec, distillation, loop
from lapic.training.cli import main
from lapic.training.codec import CodecOptions, recipe
from lapic.training.data import Crops
from lapic.training.export import trainable
from lapic.training.loop import train
from lapic.training.rate_distortion import TrainableCodec, normalise
from tests.codec.test_second import TINY
from tests.conftest import EXAMPLES


def crops(count: int = 8) -> torch.Tensor:
    return normalise(torch.from_numpy(Crops(EXAMPLES, 64).batch(0, count)))


def test_the_linear_paths_are_the_teachers() -> None:
    teacher = trainable("photo")[0].transforms
    model = TrainableCodec(SECOND)
    kept = distillation.follow(model, teacher, crops(), highest=60).kept
    picture = crops(2)
    with torch.no_grad():
        cells = second.gather(second.gather(picture.permute(0, 2, 3, 1), 4), 4)
        found = model.transforms.analysis.linear(cells, torch.float32).permute(0, 3, 1, 2)
        blocks = torch.nn.functional.pixel_unshuffle(torch.nn.functional.pixel_unshuffle(picture, 8), 2)
        assert torch.allclose(found, teacher.analysis.linear(blocks)[:, kept], atol=1e-4)
        patterns = model.transforms.synthesis.patterns()
        assert torch.allclose(patterns, teacher.synthesis.patterns()[kept], atol=1e-6)
        quality = torch.tensor([256 * 40])
        assert torch.equal(model.transforms.gain(quality), teacher.gain(quality)[:, kept])


def test_the_channels_that_take_most_bits_are_kept() -> None:
    gained = torch.zeros(2, 6, 4, 4)
    gained[:, 1], gained[:, 3], gained[:, 5] = 0.5, 9.0, 3.0
    assert distillation.most_used(gained, 4, first=1).tolist() == [0, 1, 3, 5]
    assert distillation.most_used(gained, 3, first=2).tolist() == [0, 1, 3]


def test_the_student_comes_closer_to_its_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all that it learns: latents, bits and pixels."""
    monkeypatch.setattr(codec, "SECOND", TINY)
    options = CodecOptions(
        tmp_path, generation=2, teacher="photo", data=EXAMPLES, highest=60, steps=30, batch=2, patch=64,
        learning_rate=1e-3, warmup=1, decay=1, log_every=10, loaders=1, precision="32-true",
    )  # fmt: skip
    train(options, lambda part: recipe(options, part=part))
    with (tmp_path / "train.csv").open() as file:
        first, *_, last = csv.DictReader(file)
    assert float(last["missed"]) < float(first["missed"])
    assert float(last["loss"]) < float(first["loss"])


def test_the_run_goes_on_without_its_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "SECOND", TINY)
    common = dict(data=EXAMPLES, generation=2, batch=1, patch=64, log_every=1, loaders=1, precision="32-true")
    taught = CodecOptions(tmp_path, teacher="photo", steps=1, **common)
    train(taught, lambda part: recipe(taught, part=part))
    alone = CodecOptions(tmp_path, steps=2, **common)
    model = train(alone, lambda part: recipe(alone, part=part))
    assert isinstance(model.transforms, Transforms)
    assert len((tmp_path / "train.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("more", [["--init", "photo", "--generation", "2"], []])
def test_networks_that_cannot_follow_are_refused(tmp_path: Path, more: list[str]) -> None:
    arguments = ["codec", "--data", str(EXAMPLES), "--out", str(tmp_path / "run"), "--teacher", "photo", *more]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "Error: a teacher is for a new model of generation 2"


def test_channels_that_were_kept_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All processes take those of the first, and a resumed run those of its beginning."""
    monkeypatch.setattr(codec, "SECOND", TINY)
    options = CodecOptions(
        tmp_path, data=EXAMPLES, generation=2, teacher="photo", steps=1, batch=1, patch=64, log_every=1, loaders=1,
        precision="32-true",
    )  # fmt: skip
    shared: list[torch.Tensor] = []
    monkeypatch.setattr(loop, "take_from_first", lambda fabric, tensors: shared.extend(tensors))
    train(options, lambda part: recipe(options, part=part))
    described = json.loads((tmp_path / "options.json").read_text())
    assert [tensor.tolist() for tensor in shared] == [described["kept"]]
    others = list(range(len(described["kept"])))
    assert described["kept"] != others
    (tmp_path / "options.json").write_text(json.dumps(described | {"kept": others}))
    resumed = recipe(options)
    assert [tensor.tolist() for tensor in resumed.common] == [others]
    assert resumed.notes["kept"] == others
