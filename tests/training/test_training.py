import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from lapic.bitstream import Error, read
from lapic.codec.decode import decoder
from lapic.codec.decode.decoder import View
from lapic.codec.encode import encoder
from lapic.codec.encode.rate import rate_weight
from lapic.codec.exact import context, hyper
from lapic.codec.exact.quantise import quantise
from lapic.codec.metrics import psnr
from lapic.codec.model.codec_weights import load
from lapic.codec.model.weights_file import read_weights
from lapic.codec.nets import levels
from lapic.codec.nets.config import Config
from lapic.training import codec as stage1
from lapic.training.calibration import calibrate, integer_counts
from lapic.training.codec import CodecOptions, recipe
from lapic.training.data import Crops, add_noise_crops, add_pattern_crops, list_pictures, pattern, read_ahead, read_rgb
from lapic.training.export import export_checkpoint, interpolate_weights, trainable
from lapic.training.eye import Distortion
from lapic.training.hyper import EXACT, QUICK, HyperSynthesis, straight_through
from lapic.training.initial import deepen, grow, initialise
from lapic.training.loop import learning_rate, train
from lapic.training.precision import accelerator_of, precision_of
from lapic.training.rate_distortion import TrainableCodec, loss, normalise, rounded_by_rate
from lapic.training.run_files import only_run
from tests.conftest import EXAMPLES

TINY = Config(
    latent=96, hyper=8, coarse=32, fine=16, coarse_blocks=1, fine_blocks=1, hyper_wide=16, hyper_narrow=16,
    context=12, context_inner=8,
)  # fmt: skip


def options(out: Path, **changes: object) -> CodecOptions:
    base = CodecOptions(
        data=EXAMPLES, out=out, steps=30, batch=2, patch=64, decay=1, log_every=10, warmup=5,
        precision="32-true", accelerator="cpu",
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def train_codec(made: CodecOptions, config: Config = Config()) -> TrainableCodec:
    return train(made, lambda part: recipe(made, config, part))


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train_codec(options(out, steps=60), TINY)
    return out


def test_precision_is_what_the_processor_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for computes, expected in ((torch.float32, "32-true"), (torch.bfloat16, "bf16-mixed")):
        monkeypatch.setattr("lapic.training.precision.default_dtype", lambda device, dtype=computes: dtype)
        assert precision_of("auto", "cpu") == expected
        assert precision_of("64-true", "cpu") == "64-true"


def test_a_run_is_not_put_on_a_gpu_of_apple(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which Fabric prefers to the CPU, and which lacks float64."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("lightning_fabric.accelerators.MPSAccelerator.is_available", lambda: True)
    assert accelerator_of("auto") == "cpu"
    assert accelerator_of("mps") == "mps"
    taken = []
    monkeypatch.setattr("lapic.training.loop.Fabric", lambda **settings: taken.append(settings["accelerator"]))
    with pytest.raises(AttributeError):  # there is no Fabric
        train_codec(options(Path("none"), steps=1, accelerator="auto"))
    assert taken == ["cpu"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert accelerator_of("auto") == "cuda"


@pytest.mark.parametrize("precision", ["16-mixed", "16-true", "16", "bf16-true"])
def test_other_half_precisions_are_refused(precision: str, tmp_path: Path) -> None:
    """Gradients of float16 would have to be scaled; weights in bfloat16 lose small steps."""
    with pytest.raises(ValueError, match=f"precision {precision}: take bf16-mixed or 32-true"):
        train_codec(options(tmp_path / "run", precision=precision), TINY)
    assert not (tmp_path / "run").exists()


def test_the_loss_falls(run: Path) -> None:
    rows = (run / "train.csv").read_text().splitlines()
    column = rows[0].split(",").index("loss")
    losses = [float(row.split(",")[column]) for row in rows[1:]]
    assert len(losses) == 6
    assert min(losses[3:]) < 0.9 * losses[0]  # a pattern among ten steps' crops can cost more than all else


def test_resuming_is_exact(tmp_path: Path) -> None:
    whole = train_codec(options(tmp_path / "whole", steps=12), TINY)
    train_codec(options(tmp_path / "parts", steps=7, decay=0), TINY)
    parts = train_codec(options(tmp_path / "parts", steps=12), TINY)
    assert torch.equal(weights(whole), weights(parts))
    other = train_codec(options(tmp_path / "other", steps=12, seed=1), TINY)
    assert not torch.equal(weights(whole), weights(other))


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    """One would replace the other's checkpoint."""
    train_codec(options(tmp_path, steps=1), TINY)
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    with only_run(tmp_path), pytest.raises(Error, match="another run is writing to"):
        train_codec(options(tmp_path, steps=2), TINY)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept
    assert train_codec(options(tmp_path, steps=2), TINY)  # the block's end frees the folder


def test_a_file_system_without_locks_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(lock: FileLock) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    train_codec(options(tmp_path, steps=1), TINY)
    assert (tmp_path / "checkpoint.pt").exists()


def test_a_run_of_an_older_version_is_resumed_and_exported(tmp_path: Path) -> None:
    """Its options.json, optimisers and log have other names and one column less."""
    whole = train_codec(options(tmp_path / "whole", steps=12), TINY)
    old = tmp_path / "old"
    train_codec(options(old, steps=7, decay=0, log_every=1), TINY)
    described = json.loads((old / "options.json").read_text())
    described["brought"] = described.pop("prior_training") | {"steps": 100}
    (old / "options.json").write_text(json.dumps(described))
    state = torch.load(old / "checkpoint.pt", weights_only=True)
    for name in ("model_optimiser_0", "model_optimiser_1"):
        for group in state[name]["param_groups"]:
            group["share"] = group.pop("lr_scale")
    torch.save(state, old / "checkpoint.pt")
    (old / "train.csv").write_text("step,steps/s,loss\n7,1.0,20.0\n")

    assert torch.equal(weights(whole), weights(train_codec(options(old, steps=12, log_every=5), TINY)))
    rows = (old / "train.csv").read_text().splitlines()
    assert [row.count(",") for row in rows] == [2, 2, 2]
    assert float(rows[2].split(",")[0]) == 12
    path, _ = export_checkpoint(old / "checkpoint.pt", "old", folder=tmp_path, crops=2)
    assert trainable(str(path))[1]["steps"] == "112"


def test_the_log_says_how_fast_pixels_are_read(run: Path) -> None:
    rows = [row.split(",") for row in (run / "train.csv").read_text().splitlines()]
    figures = dict(zip(rows[0], map(float, rows[-1]), strict=True))
    assert figures["megapixels/s"] == pytest.approx(figures["steps/s"] * 2 * 64**2 / 1e6)


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """They see other crops than one process would, share every gradient or now and then their weights, end with one
    model, and leave one checkpoint."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\n"
        "from lapic.training import loop\n"
        "from lapic.training.cli import main\n\n"
        "train = loop.train\n"
        "def show(*plan):\n"
        "    total = sum(float(value.double().sum()) for value in train(*plan).parameters())\n"
        "    print(f'weights {sync_every} {total}\\n', end='', flush=True)\n"  # in one piece, for two write at once
        "loop.train = show\n"
        "for sync_every in '12':\n"
        "    own = ['--sync-every', sync_every, '--out', f'{sys.argv[1]}/{sync_every}']\n"
        "    main(['codec', *sys.argv[2:], *own], standalone_mode=False)\n"
    )
    plan = {"data": EXAMPLES, "steps": 3, "batch": 1, "patch": 64, "log-every": 1, "accelerator": "cpu", "devices": 2}
    options = [word for name, value in plan.items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(EXAMPLES.parent)}
    command = [sys.executable, str(script), str(tmp_path), *options]
    said = subprocess.run(command, check=True, timeout=200, env=environment, stdout=subprocess.PIPE, text=True).stdout
    for sync_every in (1, 2):
        first, second = (line for line in said.splitlines() if line.startswith(f"weights {sync_every} "))
        assert first == second
        assert torch.load(tmp_path / str(sync_every) / "checkpoint.pt", weights_only=True)["step"] == 3
        assert len((tmp_path / str(sync_every) / "train.csv").read_text().splitlines()) == 4


def test_time_is_up(tmp_path: Path) -> None:
    train_codec(options(tmp_path, max_minutes=0), TINY)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 0


def test_a_gradient_that_is_not_finite_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        total, bpp, mse = loss(*arguments)
        return total * float("nan"), bpp, mse

    monkeypatch.setattr(stage1, "loss", broken)
    model = train_codec(options(tmp_path, steps=10), TINY)
    assert torch.isfinite(weights(model)).all()
    row = (tmp_path / "train.csv").read_text().splitlines()[-1]
    assert row.split(",")[-1] == "1.0"  # the share of steps skipped


def test_exported_weights_code_pictures(run: Path, tmp_path: Path) -> None:
    path, identity = export_checkpoint(run / "checkpoint.pt", "tiny", folder=tmp_path / "new", crops=2)
    model = load(str(path), dtype=torch.float32)
    assert model.identity == identity
    assert json.loads(read_weights(path)[1]["card"])["steps"] == "60"
    image = Image.open(EXAMPLES / "coffee.png").convert("RGB")
    pixels = np.asarray(image)
    for quality in (10, 90):
        found = decoder.decode_pixels(model, *read(encoder.encode_pixels(model, pixels, quality)))
        assert psnr(image, Image.fromarray(found)) > 20 + quality / 10


def test_an_exported_file_appears_whole(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody finds one whose tables are not fitted yet, nor one of an export that failed."""
    seen = []

    def failing(*args: object, **settings: object) -> None:
        seen.append([*tmp_path.iterdir()])
        raise ValueError("no tables")

    monkeypatch.setattr("lapic.training.export.refit", failing)
    with pytest.raises(ValueError, match="no tables"):
        export_checkpoint(run / "checkpoint.pt", "tiny", folder=tmp_path, crops=2)
    assert seen == [[]]
    assert not [*tmp_path.iterdir()]


def test_no_more_processes_read_than_windows_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, max_workers: int) -> None:
            asked.append(max_workers)
            super().__init__(1)

    monkeypatch.setattr("lapic.training.data.ProcessPoolExecutor", Pool)
    paths = [Path("a"), Path("b")]
    for system in ("posix", "nt"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "name", system)
            assert list(read_ahead(lambda path: path.name, paths, 96)) == ["a", "b"]
    assert asked == [96, 61]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="shows which files are mapped")
def test_no_tensor_is_mapped_from_a_draft_that_is_removed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows would refuse to remove it."""
    mapped: list[bool] = []

    class Folder(TemporaryDirectory):
        def cleanup(self) -> None:
            mapped.append(self.name in Path("/proc/self/maps").read_text())
            super().cleanup()

    monkeypatch.setattr("lapic.training.export.TemporaryDirectory", Folder)
    export_checkpoint(run / "checkpoint.pt", "tiny", folder=tmp_path, crops=2)
    assert mapped == [False]


def test_training_goes_on_from_exported_weights(run: Path, tmp_path: Path) -> None:
    path, _ = export_checkpoint(run / "checkpoint.pt", "tiny", folder=tmp_path, crops=2)
    model, card = trainable(str(path))
    assert card["steps"] == "60"
    integers = load(str(path)).integers
    assert all(torch.equal(integers[name], value) for name, value in model.hyper_synthesis.integers().items())
    before = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, before[name], rtol=2e-3, atol=5e-3), name
    train_codec(options(tmp_path / "more", steps=2, init=str(path)))
    _, card = trainable(
        str(export_checkpoint(tmp_path / "more" / "checkpoint.pt", "more", folder=tmp_path, crops=2)[0])
    )
    assert card["steps"] == "62"
    half, _ = export_checkpoint(tmp_path / "more" / "checkpoint.pt", "half", folder=tmp_path, crops=2, interpolate=0.5)
    start, middle, end = (weights(trainable(str(one))[0]) for one in (path, half, tmp_path / "more.safetensors"))
    assert ((middle - start).norm() / (end - start).norm()).item() == pytest.approx(0.5, abs=0.05)
    assert ((middle - end).norm() / (end - start).norm()).item() == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ValueError, match="started from none"):
        export_checkpoint(run / "checkpoint.pt", "half", folder=tmp_path, crops=2, interpolate=0.5)


def test_the_mean_of_runs_from_the_same_weights(run: Path, tmp_path: Path) -> None:
    start, _ = export_checkpoint(run / "checkpoint.pt", "tiny", folder=tmp_path, crops=2)
    for seed in (1, 2, 3):
        train_codec(options(tmp_path / str(seed), steps=seed, init=str(start), seed=seed))
    one, *others = (tmp_path / str(seed) / "checkpoint.pt" for seed in (1, 2, 3))
    path, _ = export_checkpoint(one, "mean", folder=tmp_path, crops=2, beside=others)
    mean, card = trainable(str(path))
    assert card["steps"] == str(60 + 1 + 2 + 3)
    averages = [torch.load(checkpoint, weights_only=True)["average"] for checkpoint in (one, *others)]
    for name, value in mean.transforms.state_dict().items():
        expected = torch.stack([average[f"transforms.{name}"] for average in averages]).mean(0)
        assert torch.allclose(value, expected, rtol=2e-3, atol=1e-3), name
    for checkpoint, other in ((one, run / "checkpoint.pt"), (run / "checkpoint.pt", run / "checkpoint.pt")):
        with pytest.raises(ValueError, match="other weights"):
            export_checkpoint(checkpoint, "mean", folder=tmp_path, crops=2, beside=[other])


def test_the_trainable_twin_computes_the_shipped_integers() -> None:
    torch.manual_seed(0)
    twin = HyperSynthesis(TINY)
    z = torch.randint(-63, 64, (3, TINY.hyper, 2, 3)).float().requires_grad_()
    quality = torch.tensor([256, 12345, 25600])
    for name in ("odd", "rest"):
        torch.nn.init.normal_(twin.parameters_by_name[f"{name}_leave_weight"], std=0.1)
    said = 3 * torch.randn(3, TINY.latent, 8, 12)
    exact = twin.integers()
    found = twin(z, quality, lambda part, mean, _: straight_through(said[:, part.channels].round(), mean))
    features = hyper.hyper_synthesis(z.detach(), quality, exact)
    expected = context.run_passes(features, quality, exact, lambda part, *_: said[:, part.channels].round())
    for name in ("mean", "index", "symbol"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    (found.mean.square().sum() + found.index.sum()).backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in twin.parameters())


@pytest.mark.parametrize("arithmetic", [EXACT, QUICK])
def test_what_is_off_learns_nothing(arithmetic: hyper.Arithmetic) -> None:
    """Whichever way it is wanted: an activation or scale index beyond its end does not move what it is made of."""
    for wanted in (1, -1):
        sums = torch.tensor([-9e6, -200.0, 9.0, 5000.0, 9e6]).reshape(1, 1, 1, -1).requires_grad_()
        (wanted * arithmetic.activation(sums).sum()).backward()
        assert sums.grad is not None
        assert sums.grad.flatten().tolist() == [0, 0, wanted / 128, wanted / 128, 0]
        both = torch.tensor([-9e6, 300.0, -9e6, 300.0]).reshape(1, 2, 1, 2).requires_grad_()
        mean, index = arithmetic.parameters(both)
        (wanted * (mean + index).sum()).backward()
        assert both.grad is not None
        assert both.grad.flatten().tolist() == [0, wanted / 128, 0, wanted / 256]


def test_a_finished_codec_learns_from_what_its_files_show() -> None:
    torch.manual_seed(0)
    model = TrainableCodec(TINY).eval()
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    initialise(model, normalise(pixels))
    quality = torch.tensor([9000, 20000])

    def picture_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        picture = model(pixels, quality).picture
        picture.square().sum().backward()
        gradient = model.transforms.analysis.linear.weight.grad
        assert gradient is not None
        return picture.detach(), gradient.clone()

    plain = picture_and_gradient()
    model.rounding = torch.zeros(64, 4), torch.zeros(64, 4)  # midpoints, no shift: plain rounding again
    for found, expected in zip(picture_and_gradient(), plain, strict=True):
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
    model.rounding = torch.full((64, 4), 0.4), torch.zeros(64, 4)
    assert (picture_and_gradient()[0] - plain[0]).abs().mean() > 0.01


def test_a_dead_zone_promises_nothing() -> None:
    """Numbers by hand: |r| is rounded up from 0.8 and 1.8 on, and shown 0.1 nearer to zero."""
    residual = torch.tensor([0.0, 0.2, -0.2, 0.4, 1.0, -1.6, 3.2]).requires_grad_()
    index, symbol = torch.ones(7), torch.tensor([0.0, 0, 0, 0, 1, -1, 3])
    threshold, centroid = torch.full((64, 4), 0.3), torch.tensor([0, 0.1, 0.1, 0.1]).repeat(64, 1)
    assert torch.equal(quantise(residual.detach(), index, threshold), symbol)
    shown = rounded_by_rate(residual, symbol, index, threshold, centroid)
    assert torch.allclose(shown, torch.tensor([0, 0, 0, 0, 0.9, -0.9, 2.9]))
    (2 * shown.sum()).backward()
    assert residual.grad is not None
    assert torch.allclose(residual.grad, 2 * torch.tensor([0, 0, 0, 0.9, 0.9, 1, 1]))


def test_weights_are_kept_in_the_exact_range() -> None:
    twin = HyperSynthesis(TINY)
    with torch.no_grad():
        twin.parameters_by_name["depth0_weight"].fill_(7.9)
    with pytest.raises(ValueError, match="exact"):
        hyper.assert_exact(twin.integers())
    twin.keep_exact()
    hyper.assert_exact(twin.integers())


def test_the_untrained_codec_is_a_transform_codec() -> None:
    crops = Crops(EXAMPLES, 64)
    pixels = torch.from_numpy(crops.batch(0, 300))
    model = TrainableCodec(TINY).eval()
    kept = initialise(model, normalise(pixels))
    assert 0.98 < kept < 1
    with torch.no_grad():
        decoded = model(pixels[:8], torch.full((8,), 25600)).picture
    assert (decoded - normalise(pixels[:8])).square().mean() * 127.5**2 < 60


def test_tables_fit_what_they_will_code() -> None:
    crops = Crops(EXAMPLES, 128)
    model = TrainableCodec(TINY)
    initialise(model, normalise(torch.from_numpy(crops.batch(0, 100))))
    pixels = torch.from_numpy(crops.batch(1, 2))
    tables, centroid = calibrate(model, pixels)
    tables.check()
    assert centroid.shape == (64, 4)
    assert not centroid[:, 0].any()
    assert centroid.min() >= 0
    assert centroid.max() <= 0.5
    at_best, _ = calibrate(model, pixels, qualities=(100, 100))
    assert any((a != b).any() for a, b in zip(tables.latent, at_best.latent, strict=True))


def test_integer_counts_sum_up() -> None:
    for size in (2, 127, 2000):
        counts = integer_counts(np.random.default_rng(size).dirichlet(np.full(size, 0.1)))
        assert counts.sum() == 2**24
        assert counts.min() >= 1


def test_batches_depend_on_seed_step_and_rank_alone() -> None:
    a, b = Crops(EXAMPLES, 64), Crops(EXAMPLES, 64)
    assert np.array_equal(a.batch(5, 4), b.batch(5, 4))
    assert not np.array_equal(a.batch(5, 4), a.batch(6, 4))
    assert a.batch(0, 3).shape == (3, 3, 64, 64)
    shares = [Crops(EXAMPLES, 64, part=(rank, 2)) for rank in range(2)]
    assert sum(len(share.pictures) for share in shares) == len(list_pictures(EXAMPLES))


def test_a_run_for_high_qualities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def watched(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        seen.append(arguments[2])
        return loss(*arguments)

    monkeypatch.setattr(stage1, "loss", watched)
    (tmp_path / "held").mkdir()
    Image.open(EXAMPLES / "coffee.png").crop((0, 0, 64, 64)).save(tmp_path / "held" / "one.png")
    train_codec(options(tmp_path / "run", lowest=90, highest=98, validation=tmp_path / "held"), TINY)
    drawn = torch.cat(seen) / levels.QUALITY_ONE
    assert 90 <= drawn.min() < 92
    assert 96 < drawn.max() <= 98
    columns = (tmp_path / "run" / "validation.csv").read_text().splitlines()[0].split(",")
    assert [name for name in columns if name.startswith("bpp@")] == ["bpp@90", "bpp@92", "bpp@94", "bpp@96", "bpp@98"]


def test_qualities_in_the_wrong_order(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lowest quality, 90, is above the highest, 80"):
        recipe(options(tmp_path, lowest=90, highest=80), TINY)


def test_some_crops_get_strong_noise() -> None:
    crops = Crops(EXAMPLES, 64).batch(0, 100)
    found = add_noise_crops(crops, np.random.default_rng(1), 0.25)
    assert np.array_equal(found, add_noise_crops(crops, np.random.default_rng(1), 0.25))
    changed = (found != crops).any((1, 2, 3))
    assert 15 < changed.sum() < 35
    noise = np.abs(np.diff(found[changed].astype(int), axis=3)).mean((1, 2, 3))
    assert noise.min() < 15
    assert noise.max() > 60


def test_some_crops_are_patterns_of_few_colours() -> None:
    crops = Crops(EXAMPLES, 64).batch(0, 100)
    found = add_pattern_crops(crops, np.random.default_rng(1), 0.25)
    assert np.array_equal(found, add_pattern_crops(crops, np.random.default_rng(1), 0.25))
    assert 15 < (found != crops).any((1, 2, 3)).sum() < 35
    rng = np.random.default_rng(0)
    several = [pattern(rng, 3, 64) for _ in range(100)]
    assert 20 < sum(set(np.unique(one)) <= {0, 255} for one in several) < 50
    assert 30 < sum(np.array_equal(one[0], one[1]) for one in several) < 75  # grey
    few = sum(len({tuple(colour) for colour in one.reshape(3, -1).T.tolist()}) <= 16 for one in several)
    assert 50 < few < 95  # the others do not repeat
    checks = sum(np.array_equal(one[:, 0, 0], one[:, 1, 1]) and (one[:, 0] != one[:, 1]).any() for one in several)
    assert checks > 4


def test_the_share_of_patterns_is_the_runs(tmp_path: Path) -> None:
    few, all_of_them = (recipe(options(tmp_path, patterns=share), TINY).batch(0)[0] for share in (0.0, 1.0))
    assert (few != all_of_them).any(3).any(2).any(1).all()
    assert torch.equal(recipe(options(tmp_path, patterns=0.0), TINY).batch(0)[0], few)


def test_noise_does_not_dominate_the_gradient() -> None:
    pixels = torch.from_numpy(Crops(EXAMPLES, 64).batch(0, 1))
    model = TrainableCodec(TINY)
    initialise(model, normalise(pixels))
    quality, gradients = torch.tensor([25600]), []
    for picture in (pixels, torch.randint(0, 256, pixels.shape, dtype=torch.uint8)):
        model.zero_grad()
        total, _, _ = loss(model(picture, quality), picture, quality, Distortion())
        total.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm())
    assert gradients[1] < 5 * gradients[0]


def test_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no pictures"):
        Crops(tmp_path, 64)
    with pytest.raises(ValueError, match="as large as"):
        Crops(EXAMPLES, 4096)


def test_the_rate_falls_to_0_by_the_clock() -> None:
    plan = options(Path(), steps=10**6, warmup=0, learning_rate=1.0, max_minutes=10, decay_minutes=5)
    rates = [learning_rate(plan, 50, minutes) for minutes in (0, 5, 7.5, 10, 11)]
    assert rates == [1, 1, 0.5, 0, 0]
    assert learning_rate(dataclasses.replace(plan, decay_minutes=0), 50, 11) == 1


def test_a_run_reads_the_clock_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr("lapic.training.loop.learning_rate", lambda plan, step, minutes: asked.append(minutes) or 0.0)
    train_codec(options(tmp_path, steps=3), TINY)
    times = sorted(set(asked))
    assert len(times) == 3
    assert asked == sorted(asked)
    assert times[-1] < 10


def test_signals_are_handled_as_before_after_a_run(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train_codec(options(tmp_path, steps=1), TINY)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    whole = (EXAMPLES / "coffee.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Error, match=r"broken\.png: the picture is damaged"):
        Crops(tmp_path, 64)


def test_schedule_and_rates() -> None:
    plan = options(Path(), steps=100, warmup=10, decay=50, learning_rate=1.0)
    rates = [learning_rate(plan, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[30] == 1
    assert rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.02)
    weight = rate_weight(torch.tensor([256, 12928, 25600]))
    assert weight[1] == pytest.approx(float((weight[0] * weight[2]).sqrt()), rel=1e-4)


def test_a_grown_model_starts_as_the_old_one_and_learns(tmp_path: Path) -> None:
    train_codec(options(tmp_path / "plain", steps=12), dataclasses.replace(TINY, context=0))
    path, _ = export_checkpoint(tmp_path / "plain" / "checkpoint.pt", "tiny", folder=tmp_path, crops=2)
    old, _ = trainable(str(path))
    crops = torch.from_numpy(Crops(EXAMPLES, 64).batch(0, 60))
    grown = grow(old, 56, 12, normalise(crops))
    quality = torch.tensor([256, 25600])
    with torch.no_grad():
        expected, found = (model.eval()(crops[:2], quality) for model in (old, grown))
    assert torch.allclose(found.picture, expected.picture, atol=1e-5)
    assert torch.allclose(found.bits_y, expected.bits_y, rtol=1e-5)
    train_codec(options(tmp_path / "more", steps=12, init=str(path), quarter=56, context=12))
    path, _ = export_checkpoint(tmp_path / "more" / "checkpoint.pt", "more", folder=tmp_path, crops=2)
    more, _ = trainable(str(path))
    assert (more.config.quarter, more.config.context) == (56, 12)
    for part in (more.transforms.analysis.quarter.down, more.transforms.synthesis.quarter.leave):
        assert part.weight.abs().max() > 0
    for name in ("odd", "rest"):
        assert more.hyper_synthesis.parameters_by_name[f"{name}_leave_weight"].abs().max() > 0


def test_a_model_with_a_quarter_stage_codes_in_pieces_without_seams(tmp_path: Path) -> None:
    train_codec(options(tmp_path / "quarter", steps=3), dataclasses.replace(TINY, quarter=16))
    checkpoint = tmp_path / "quarter" / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    for name, value in state["average"].items():
        if "quarter.leave.weight" in name or "quarter.down.weight" in name:
            torch.nn.init.normal_(value, 0, 0.05)
    torch.save(state, checkpoint)
    path, _ = export_checkpoint(checkpoint, "quarter", folder=tmp_path, crops=2)
    model = load(str(path), dtype=torch.float32)
    pixels = np.asarray(Image.open(EXAMPLES / "coffee.png").convert("RGB"))
    header, tiles = read(encoder.encode_pixels(model, pixels, 80, tile=64))
    assert header.tile == 64
    whole, pieces = (decoder.decode_pixels(model, header, tiles, View(piece=piece)).astype(int) for piece in (128, 3))
    assert np.abs(whole - pieces).max() <= 1
    for scale in (2, 4, 8):
        small = decoder.decode_pixels(model, header, tiles, View(scale))
        assert small.shape[0] == -(-pixels.shape[0] // scale)
    whole = dict(encoder.analyse(model, pixels, 64))
    pieces = dict(encoder.analyse(model, pixels, 64, piece=8))
    assert whole.keys() == pieces.keys()
    assert all(torch.allclose(whole[rect], pieces[rect], atol=1e-3) for rect in whole)


def read_and_note(notes: Path, path: Path) -> np.ndarray:
    """A picture; that it is read is noted in a folder."""
    (notes / path.name).touch()
    return read_rgb(path)


def test_no_more_is_read_than_fits(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(40):
        edge = 24 if number % 8 == 0 else 40 + number  # some are too small
        Image.new("RGB", (edge, 40), (number,) * 3).save(tmp_path / "data" / f"{number:02}.png")

    def kept(notes: str, **bound: float) -> tuple[list[np.ndarray], int]:
        (tmp_path / notes).mkdir()
        crops = Crops(tmp_path / "data", 32, read=partial(read_and_note, tmp_path / notes), **bound)
        return crops.pictures, len(list((tmp_path / notes).iterdir()))

    every, read = kept("all")
    order = np.random.default_rng(0).permutation(40)
    assert [int(picture[0, 0, 0]) for picture in every] == [number for number in order if number % 8]
    assert read == 40
    room = sum(picture.nbytes for picture in every[:3]) + every[3].nbytes - 1
    some, read = kept("some", max_gib=room / 2**30)
    assert [int(picture[0, 0, 0]) for picture in some] == [int(picture[0, 0, 0]) for picture in every[:3]]
    assert read < 30


def test_a_run_shorter_than_its_decay_has_its_learning_rate() -> None:
    plan = options(Path(), steps=100, warmup=0, decay=10_000, learning_rate=1.0)
    assert [learning_rate(plan, step) for step in (0, 50)] == [1, 0.5]


def test_weights_that_a_run_started_from_may_not_change(run: Path, tmp_path: Path) -> None:
    start, _ = export_checkpoint(run / "checkpoint.pt", "tiny", folder=tmp_path, crops=2)
    plan = options(tmp_path / "more", steps=1, init=str(start))
    train_codec(plan)
    train_codec(dataclasses.replace(plan, steps=2))
    checkpoint = tmp_path / "more" / "checkpoint.pt"
    export_checkpoint(checkpoint, "tiny", folder=tmp_path, crops=2)  # over the start
    reason = r"the weights file of .*tiny\.safetensors has changed since this run started"
    with pytest.raises(Error, match=reason):
        export_checkpoint(checkpoint, "half", folder=tmp_path, crops=2, interpolate=0.5)
    with pytest.raises(Error, match=reason):
        recipe(dataclasses.replace(plan, steps=3))
    train_codec(dataclasses.replace(plan, out=tmp_path / "other"))
    with pytest.raises(ValueError, match="other weights"):
        export_checkpoint(checkpoint, "mean", folder=tmp_path, crops=2, beside=[tmp_path / "other" / "checkpoint.pt"])
    described = json.loads((tmp_path / "more" / "options.json").read_text())
    del described["sha256"]  # as an older run
    (tmp_path / "more" / "options.json").write_text(json.dumps(described))
    train_codec(dataclasses.replace(plan, steps=3))
    assert "sha256" in json.loads((tmp_path / "more" / "options.json").read_text())
    assert json.loads((tmp_path / "more" / "options.json").read_text())["sha256"] == {}
    model, described = trainable(str(start))[0], json.loads((tmp_path / "more" / "options.json").read_text())
    interpolate_weights(model, described, 0.5)


def test_weights_that_have_no_place_are_not_dropped() -> None:
    model = TrainableCodec(dataclasses.replace(TINY, more_fine=0))
    with pytest.raises(ValueError, match="no place for"):
        deepen(model, 0, -1)


def test_there_is_nothing_between_networks_of_two_shapes() -> None:
    model = TrainableCodec(dataclasses.replace(trainable("fast")[0].config, context=0))
    with pytest.raises(ValueError, match="networks of one shape, and fast lacks parts of this run's"):
        interpolate_weights(model, {"init": "fast"}, 0.5)


def test_a_run_of_another_generation_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    (tmp_path / "options.json").write_text(json.dumps({"config": dataclasses.asdict(TINY)}))
    with pytest.raises(ValueError, match="holds another run, of networks of another generation: name another --out"):
        recipe(options(tmp_path, generation=2))
