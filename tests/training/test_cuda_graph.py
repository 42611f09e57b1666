"""Training on one device by the clock: on a CPU step by step, on a GPU compiled and captured."""

import csv
import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lapic.bitstream import Error
from lapic.codec.nets.config import SECOND, Config
from lapic.training import cuda_graph
from lapic.training.cli import main
from lapic.training.cuda_graph import CudaGraphOptions, GraphTrainer, learning_rate, train_with_cuda_graph
from lapic.training.data import Crops, DeviceCrops
from lapic.training.export import trainable
from lapic.training.initial import deepen
from lapic.training.muon import Muon, StackedMuon
from lapic.training.rate_distortion import Estimate, TrainableCodec, normalise
from lapic.training.run_files import only_run
from tests.conftest import EXAMPLES

OPTIONS = CudaGraphOptions(
    data=EXAMPLES, out=Path("unused"), init="photo", batch=2, patch=64, log_every=10, device="cpu"
)


def trainer(options: CudaGraphOptions = OPTIONS) -> GraphTrainer:
    torch.manual_seed(0)
    crops = DeviceCrops(Crops(EXAMPLES, options.patch).pictures, options.patch, options.device)
    model, _ = trainable(options.init)
    return GraphTrainer(options, model.to(options.device).train(), crops)


def test_crops_are_windows_of_the_pictures() -> None:
    torch.manual_seed(0)
    numbers = np.arange(40 * 50, dtype=np.int64).reshape(40, 50)
    first = np.stack([numbers % 251, numbers // 251, np.full_like(numbers, 7)], axis=2).astype(np.uint8)
    second = np.stack([np.full((30, 30), 200), *np.indices((30, 30))], axis=2).astype(np.uint8)
    crops = DeviceCrops([first, second], 16, "cpu")
    crops._add_hard_crops = lambda plain: plain
    windows = {
        picture[top : top + 16, left : left + 16].tobytes()
        for picture in (first, second)
        for top in range(picture.shape[0] - 15)
        for left in range(picture.shape[1] - 15)
    }
    found = crops(200).permute(0, 2, 3, 1).numpy()
    kinds = set()
    for crop in found:
        turns = [np.rot90(one, number) for one in (crop, crop.swapaxes(0, 1)) for number in range(4)]
        places = [number for number, turned in enumerate(turns) if np.ascontiguousarray(turned).tobytes() in windows]
        assert len(places) == 1
        kinds.add(places[0])
    assert kinds == set(range(8))
    assert 20 < (found[..., 0] == 200).all((1, 2)).sum() < 120


def test_some_crops_are_noise_and_some_are_patterns() -> None:
    torch.manual_seed(0)
    crops = DeviceCrops([np.full((64, 64, 3), 90, np.uint8)], 32, "cpu")
    patterns = {one.numpy().tobytes() for one in crops.patterns}
    found = [crops(4).permute(0, 2, 3, 1).contiguous() for _ in range(400)]
    noisy = sum(bool((batch[0] != 90).any()) for batch in found)
    assert 25 < noisy < 80  # a 32nd of 1600 crops
    last = [batch[3].numpy().tobytes() for batch in found if (batch[3] != 90).any()]
    assert 70 < len(last) < 130  # a 16th
    assert set(last) <= patterns
    assert len(set(last)) > 20


@pytest.mark.parametrize("more", [(1, 0), (0, 1)])
def test_networks_of_generation_2_get_no_more_blocks(more: tuple[int, int]) -> None:
    model = TrainableCodec(dataclasses.replace(SECOND, latent=32, hyper=8, coarse=32, fine=16, wide=32, context=0))
    with pytest.raises(ValueError, match="leave out --more-coarse and --more-fine"):
        deepen(model, *more)


def test_a_deeper_analysis_gives_the_same_at_first(coffee: np.ndarray) -> None:
    torch.manual_seed(0)
    model = TrainableCodec(Config(latent=32, hyper=8, coarse=32, fine=16, quarter=8, coarse_blocks=1, fine_blocks=1))
    for value in model.transforms.analysis.parameters():
        torch.nn.init.normal_(value, 0, 0.1)
    deeper = deepen(model, coarse=2, fine=1)
    analysis = deeper.transforms.analysis
    assert (len(analysis.coarse), len(analysis.fine)) == (3, 2)
    picture = torch.from_numpy(coffee[:64, :64].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = model.transforms.analysis(picture)
    assert torch.allclose(expected, analysis(picture), atol=1e-5)
    assert len(deepen(deeper, coarse=5, fine=5).transforms.analysis.coarse) == 3
    for block in (analysis.coarse[2], analysis.fine[1]):
        torch.nn.init.normal_(block.join.weight, 0, 0.1)
        assert not torch.allclose(expected, analysis(picture), atol=1e-5)
        torch.nn.init.zeros_(block.join.weight)


def test_matrices_in_stacks_learn_as_they_do_one_by_one() -> None:
    torch.manual_seed(0)
    shapes = [(8, 8), (8, 8), (16, 8), (8, 24)]
    alone, stacked = ([torch.nn.Parameter(torch.ones(*shape, 1, 1)) for shape in shapes] for _ in range(2))
    one, all_ = Muon([{"params": alone, "lr_scale": 16.0}]), StackedMuon(Muon([{"params": stacked, "lr_scale": 16.0}]))
    one.param_groups[0]["lr"] = 16 * 1e-3
    for _ in range(3):
        for a, b in zip(alone, stacked, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        one.step()
        all_.step(torch.tensor(1e-3))
    for a, b in zip(alone, stacked, strict=True):
        assert (a != 1).any()
        assert torch.allclose(a, b, atol=2e-4)


def test_a_gradient_that_is_not_finite_is_skipped() -> None:
    one = trainer()
    one.rate.fill_(1e-4)
    before = torch.cat([value.detach().flatten() for value in one.learned])
    one.loss = lambda *given: tuple(part * float("nan") for part in cuda_graph.loss(*given))
    one.step()
    assert one.figures[3] == 1
    assert torch.equal(before, torch.cat([value.detach().flatten() for value in one.learned]))
    one.loss = cuda_graph.loss
    one.step()
    assert one.figures[3] == 1
    assert not torch.equal(before, torch.cat([value.detach().flatten() for value in one.learned]))


def test_the_rate_rises_and_falls() -> None:
    rates = [learning_rate(OPTIONS, done / 100) for done in range(101)]
    assert rates[0] < 0.1 * OPTIONS.learning_rate
    assert max(rates) == rates[10] == OPTIONS.learning_rate
    assert rates[100] == 0
    assert rates[60] == pytest.approx(OPTIONS.learning_rate / 2)


def test_a_run_for_a_time_can_be_exported(tmp_path: Path) -> None:
    made = dataclasses.replace(OPTIONS, out=tmp_path, minutes=0.1, more_fine=1, highest=60)
    checkpoint = train_with_cuda_graph(made)
    state = torch.load(checkpoint, weights_only=True)
    assert state["step"] >= 10
    rows = [row.split(",") for row in (tmp_path / "train.csv").read_text().splitlines()]
    figures = dict(zip(rows[0], map(float, rows[1]), strict=True))
    assert figures["step"] == 10
    assert figures["megapixels/s"] == pytest.approx(figures["steps/s"] * 2 * 64**2 / 1e6)
    model, _ = trainable("photo")
    model = TrainableCodec(dataclasses.replace(model.config, more_fine=model.config.more_fine or 1))
    model.load_state_dict(state["average"])
    with only_run(tmp_path), pytest.raises(Error, match="another run is writing to"):
        train_with_cuda_graph(made)


def test_wrong_options_are_named_in_one_line(tmp_path: Path) -> None:
    words = ["codec", "--cuda-graph", "--data", str(EXAMPLES), "--init", "photo", "--out", str(tmp_path)]
    for wrong, reason in (
        (["--lowest", "60", "--highest", "20"], "the lowest quality, 60, is above the highest, 20"),
        (
            ["--objective", "eye", "--lpips", "0.7"],
            "the shares of structure, 0.5, and LPIPS, 0.7, add up to more than 1",
        ),
        (["--device", "cuda:99"], "there is no CUDA device cuda:99"),
        (["--device", "gpu"], "no such device: gpu"),
        (["--device", "meta"], "not a CUDA device: meta"),
    ):
        result = CliRunner().invoke(main, [*words, "--device", "cpu", "--patch", "64", *wrong])
        assert result.exit_code == 1
        assert result.output == f"Error: {reason}\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--cuda-graph"], "--cuda-graph needs --init"),
        (["--cuda-graph", "--init", "photo", "--steps", "9"], "--steps does not go with --cuda-graph"),
        (["--cuda-graph", "--init", "photo", "--validation", str(EXAMPLES)], "--validation does not go with"),
        (["--init", "photo", "--minutes", "1"], "--minutes needs --cuda-graph"),
        (["--more-fine", "1"], "--more-fine needs --cuda-graph"),
        (["--structure", "0.2"], "--structure needs --objective eye"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], reason: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["codec", "--data", str(EXAMPLES), "--out", str(tmp_path / "run"), *words])
    assert result.exit_code == 2
    assert f"Error: {reason}" in result.output
    assert not (tmp_path / "run").exists()


def test_the_command_trains_for_a_time_with_defaults_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []
    monkeypatch.setattr(cuda_graph, "train_with_cuda_graph", plans.append)
    words = ["--cuda-graph", "--data", str(EXAMPLES), "--init", "photo", "--out", str(tmp_path), "--minutes", "2"]
    result = CliRunner().invoke(main, ["codec", *words, "--objective", "eye", "--structure", "0.3"])
    assert result.exit_code == 0, result.output
    expected = CudaGraphOptions(data=EXAMPLES, out=tmp_path, init="photo", minutes=2, objective="eye", structure=0.3)
    assert plans == [dataclasses.replace(expected, highest=60)]  # of its card
    assert (expected.batch, expected.patch) == (16, 256)


@pytest.mark.parametrize("lpips", [0.0, 0.1])
def test_the_loss_of_the_eye_compiles(lpips: float, backbone: Path) -> None:
    """As on a GPU, but by the tracer alone: as one graph, except for LPIPS."""
    torch.manual_seed(0)
    distortion = dataclasses.replace(OPTIONS, objective="eye", lpips=lpips, backbone=backbone).distortion()
    compiled = torch.compile(cuda_graph.loss, fullgraph=not lpips, dynamic=False, backend="eager")
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    picture = (normalise(pixels) * 0.9).requires_grad_()
    added = [torch.zeros(2, 3, 64 // scale, 64 // scale) for scale in (8, 4, 2, 1)]
    estimate = Estimate(torch.zeros(2, 1, 4, 4), picture, added, torch.full((2,), 900.0), torch.full((2,), 90.0))
    quality = torch.tensor([9000, 20000])
    totals = [one(estimate, pixels, quality, distortion)[0] for one in (cuda_graph.loss, compiled)]
    assert totals[0].item() == pytest.approx(totals[1].item(), rel=1e-5)


def test_the_objective_changes_the_step() -> None:
    moved = []
    for objective in ("psnr", "eye"):
        one = trainer(dataclasses.replace(OPTIONS, objective=objective))
        one.rate.fill_(1e-4)
        torch.manual_seed(1)
        one.step()
        moved.append(torch.cat([value.detach().flatten() for value in one.learned]))
    assert not torch.equal(*moved)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("objective", ["psnr", "eye"])
def test_a_captured_step_learns(objective: str) -> None:
    one = trainer(dataclasses.replace(OPTIONS, device="cuda", objective=objective))
    step = one.captured_step()
    one.rate.fill_(1e-4)
    one.figures.zero_()
    for _ in range(5):
        step()
    assert torch.isfinite(one.figures).all()
    assert one.figures[3] == 0


@pytest.mark.parametrize("log_every", [5, 15, 20])
def test_the_log_has_the_means_of_the_steps_since_its_last_row(
    log_every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(GraphTrainer):
        def captured_step(self) -> Callable[[], None]:
            self.on_gpu = True
            self.figures += 3  # by the steps that warm it up
            return lambda: self.figures.add_(torch.tensor([7.0, 1.0, 2.0, 0.0]))

    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(cuda_graph, "GraphTrainer", Counting)
    monkeypatch.setattr(cuda_graph, "time", SimpleNamespace(monotonic=map(float, itertools.count()).__next__))
    train_with_cuda_graph(dataclasses.replace(OPTIONS, out=tmp_path, minutes=0.5, log_every=log_every))
    with (tmp_path / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 2
    for row in rows:
        assert [float(row[name]) for name in ("loss", "bpp", "mse", "skipped")] == [7, 1, 2, 0]
    assert json.loads((tmp_path / "options.json").read_text())["sha256"].keys() == {"init"}
    assert set(waited) == {OPTIONS.device}  # which need not be torch's current one


def test_shares_of_hard_crops_do_not_fall_with_the_batch() -> None:
    torch.manual_seed(0)
    crops = DeviceCrops([np.full((64, 64, 3), 90, np.uint8)], 32, "cpu")
    for _ in range(5):
        found = crops(96)
        hard = (found != 90).flatten(1).any(1)
        assert hard[:3].all()  # a 32nd
        assert hard[-6:].all()  # a 16th
        assert hard.sum() == 9
        assert len({crop.numpy().tobytes() for crop in found[:3]}) == 3
    few = sum(int((crops(40) != 90).flatten(1).any(1).sum()) for _ in range(100))
    assert 330 < few < 420  # of 4000: 125 and 250


def test_a_run_that_can_be_resumed_or_is_another_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"weeks of work")
    for described, reason in (
        ({"init": "photo", "steps": 9}, "holds a run that can be resumed: name another --out"),
        ({"init": "eye"}, "holds another run, with init eye, not photo"),
    ):
        (tmp_path / "options.json").write_text(json.dumps(described))
        with pytest.raises(ValueError, match=reason):
            train_with_cuda_graph(dataclasses.replace(OPTIONS, out=tmp_path, minutes=0))
    assert (tmp_path / "checkpoint.pt").read_bytes() == b"weeks of work"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_checkpoint_on_a_full_disk_fails_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"older")
    (tmp_path / "checkpoint.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        cuda_graph.save(tmp_path, torch.nn.Linear(1, 1), 1, 1.0)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]
