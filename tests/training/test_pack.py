"""Packs of `lapic-train onnx`, by a decoder and an encoder that know nothing else of a model (tests/pack.py)."""

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from onnxruntime import GraphOptimizationLevel
from PIL import Image

from lapic import bitstream
from lapic.bitstream import Tables
from lapic.bitstream.container import QUALITY_MAP
from lapic.bitstream.quality_map import write_map
from lapic.codec.decode import decoder
from lapic.codec.decode.decoder import View
from lapic.codec.decode.realism import config_for
from lapic.codec.encode import encoder
from lapic.codec.exact import hyper
from lapic.codec.model import translator_weights
from lapic.codec.model.codec_weights import Model, load
from lapic.codec.model.weights_file import save
from lapic.codec.nets.network import Config
from lapic.codec.nets.translator import Translator
from lapic.codec.selftest import GOLDEN, golden
from lapic.training.cli import main
from lapic.training.pack import export
from lapic.training.pack.exact import exact_graphs
from lapic.training.rate_distortion import TrainableCodec
from tests import pack, reference
from tests.codec.test_context import near_the_limits, plain_arithmetic
from tests.codec.test_second import TINY
from tests.codec.test_second import weights as second_generation
from tests.pack import Pack

EXACT = ["hyper", "context-odd", "context-rest"]
FOR_ENCODING = {"analysis.onnx", "hyper-analysis.onnx"}
MOVES_NUMBERS = {"Cast", "Concat", "DepthToSpace", "Identity", "Slice", "Split"}
SMALL = Config(
    latent=20, hyper=8, coarse=24, fine=16, coarse_blocks=1, fine_blocks=1, hyper_wide=16, hyper_narrow=8, context=0
)


def run_train(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pack]:
    """The packs of the shipped models by their ids, written by the command."""
    made = {}
    for name in ("photo", "photo-high", "fast"):
        folder = tmp_path_factory.mktemp("packs") / name
        result = run_train("onnx", name, folder)
        assert result.exit_code == 0, result.output
        found = Pack(folder)
        made[found.manifest["model"]] = found
    return made


def test_a_pack_says_what_it_encodes(packs: dict[str, Pack]) -> None:
    assert [found.manifest["qualities"] for found in packs.values()] == [[1, 60], [60 + 1 / 256, 100], [1, 60]]
    assert [found.manifest["tune"] for found in packs.values()] == ["psnr", "psnr", None]


def test_the_decoder_needs_no_torch(packs: dict[str, Pack]) -> None:
    model_pack, _ = of_file(packs, "photo-q10.lapic")
    code = f"""if True:
        import sys
        from pathlib import Path
        from tests import pack
        pixels, _ = pack.decode(pack.Pack(Path({str(model_pack.folder)!r})), Path("photo-q10.lapic").read_bytes())
        assert pixels.ndim == 3 and "torch" not in sys.modules"""
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], cwd=GOLDEN, env=os.environ | {"PYTHONPATH": root}, check=True)


def of_file(packs: dict[str, Pack], name: str) -> tuple[Pack, bytes]:
    data = (GOLDEN / name).read_bytes()
    return packs[bitstream.read_header(data).model.hex()], data


def exact_model(model_pack: Pack) -> Model:
    return load(model_pack.manifest["name"], dtype=torch.float32)


def levels_apart(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("name", sorted(golden()))
def test_golden_files_decode_without_torch(packs: dict[str, Pack], name: str) -> None:
    pixels, symbols = pack.decode(*of_file(packs, name))
    digest = hashlib.sha256()
    for z, s in symbols:
        digest.update(z.astype("<i2").tobytes() + s.astype("<i2").tobytes())
    assert digest.hexdigest() == golden()[name]
    assert levels_apart(pixels, np.asarray(Image.open(GOLDEN / f"{name}.png"))) <= 1


@pytest.mark.parametrize("name", ["dots-q100.lapic", "fast-q40.lapic", "grey-q50.lapic", "photo-q10.lapic"])
@pytest.mark.parametrize(("scale", "realism"), [(8, 0), (1, 0.4), (1, 1)])
def test_other_views_of_golden_files(packs: dict[str, Pack], name: str, scale: int, realism: float) -> None:
    model_pack, data = of_file(packs, name)
    view = View(scale, realism=realism)
    expected = decoder.decode_pixels(exact_model(model_pack), *bitstream.read(data), view)
    assert levels_apart(pack.decode(model_pack, data, scale, realism)[0], expected) <= 1


def test_a_filter_at_a_quality_that_realism_changes(packs: dict[str, Pack]) -> None:
    """The filter of a file fades out as realism grows."""
    model_pack, data = of_file(packs, "photo-q10.lapic")
    header, tiles = bitstream.read(data)
    coefficients = np.random.default_rng(0).integers(-6, 7, (3, 76)).astype(np.int16)
    body = bytes([11]) + bitstream.encode_values(model_pack.tables, coefficients, model_pack.arrays["filter.scale"])
    header = dataclasses.replace(header, chunks={b"filt": body})
    data, model = bitstream.write(header, tiles), exact_model(model_pack)
    for scale, realism in ((1, 0.0), (8, 0.0), (1, 0.4)):
        expected = decoder.decode_pixels(model, header, tiles, View(scale, realism=realism))
        assert levels_apart(pack.decode(model_pack, data, scale, realism)[0], expected) <= 1


@pytest.mark.parametrize("quality", [5, 60, 95])
def test_the_encoder_makes_the_files_of_effort_0(packs: dict[str, Pack], photo: Image.Image, quality: float) -> None:
    """A latent at the edge between two symbols may fall on either side, which changes its tile."""
    model = load("photo" if quality <= 60 else "photo-high", dtype=torch.float32)
    model_pack = packs[model.identity.hex()]
    pixels = np.asarray(photo)[40:, 30:].copy()
    _, expected = bitstream.read(encoder.encode_pixels(model, pixels, quality, tile=64))
    data = pack.encode(model_pack, pixels, quality, tile=64)
    header, tiles = bitstream.read(data)
    same = [mine == right for mine, right in zip(tiles, expected, strict=True)]
    assert sum(same) >= 0.8 * len(same)
    pack_view, _ = pack.decode(model_pack, data)
    assert levels_apart(decoder.decode_pixels(model, header, tiles), pack_view) <= 1


def test_the_encoder_makes_grey_files(packs: dict[str, Pack], photo: Image.Image) -> None:
    model = load("photo", dtype=torch.float32)
    pixels = np.asarray(photo.convert("L"))[50:150, 30:201]
    data = pack.encode(packs[model.identity.hex()], pixels, 40, tile=64)
    header, tiles = bitstream.read(data)
    _, expected = bitstream.read(encoder.encode_pixels(model, pixels, 40, tile=64))
    assert sum(mine == right for mine, right in zip(tiles, expected, strict=True)) >= 0.8 * len(tiles)
    assert (
        levels_apart(decoder.decode_pixels(model, header, tiles), pack.decode(packs[header.model.hex()], data)[0]) <= 1
    )


def rows(values: np.ndarray) -> np.ndarray:
    """A level table's row for all places, (1, C, 1, 1)."""
    return values[None, :, None, None]


def sessions(graphs: dict[str, bytes], level: GraphOptimizationLevel) -> dict[str, onnxruntime.InferenceSession]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.intra_op_num_threads = level, 1
    return {
        name: onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for name, graph in graphs.items()
    }


@pytest.mark.parametrize("level", [GraphOptimizationLevel.ORT_DISABLE_ALL, GraphOptimizationLevel.ORT_ENABLE_ALL])
def test_the_exact_graphs_equal_plain_integers_up_to_the_limits(level: GraphOptimizationLevel) -> None:
    model = load("photo", dtype=torch.float32)
    low, latent = model.config.context, model.config.latent
    tensors, features, symbols = near_the_limits(model)
    integers = {name: tensor.numpy() for name, tensor in tensors.items()}
    run = sessions(exact_graphs(integers, low), level)
    quality, exact = 9000, reference.Integers(integers)
    mean, index = plain_arithmetic(integers, features[0].long().numpy(), quality, symbols[0].long().numpy())
    leave = exact.level(exact.w["level.leave"], quality)
    u = exact.sums(features[0].long().numpy(), quality)
    sums = np.concatenate([(u[:low] + 64) / 128, (u[latent : latent + low] + 128) / 256]).astype(np.float32)
    white = np.indices(symbols.shape[-2:]).sum(0) % 2 == 0
    known = symbols[:, :low].numpy()
    odd = run["context-odd.onnx"].run(None, {"symbols": known * white, "x": features.numpy(), "sums": sums[None]})
    rest_leave = np.concatenate([leave[low:latent], leave[latent + low :]]).astype(np.float32)
    rest = run["context-rest.onnx"].run(None, {"symbols": known, "x": features.numpy(), "leave": rows(rest_leave)})
    assert (np.abs(mean[low:]) == hyper.MEAN_MAX).any()
    for found, right in zip(odd, (mean, index), strict=True):
        assert np.array_equal(found[0][:, ~white], right[:low, ~white])
    for found, right in zip(rest, (mean, index), strict=True):
        assert np.array_equal(found[0], right[low:])


@pytest.mark.parametrize("level", [GraphOptimizationLevel.ORT_DISABLE_ALL, GraphOptimizationLevel.ORT_ENABLE_ALL])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 9), (12, 8)])
def test_the_hyper_graph_equals_plain_integers(level: GraphOptimizationLevel, height: int, width: int) -> None:
    model = load("photo", dtype=torch.float32)
    low, latent, quality = model.config.context, model.config.latent, 256 * 77 + 3
    integers = {name: tensor.numpy() for name, tensor in model.integers.items()}
    z = np.random.default_rng(1).integers(-63, 64, (model.config.hyper, -(-height // 4), -(-width // 4)))
    exact = reference.Integers(integers)
    x = exact.hyper_synthesis(z, quality)[:, :height, :width]
    mean, index = exact.parameters(exact.sums(x, quality))
    enter, leave = (exact.level(exact.w[f"level.{end}"], quality).astype(np.float32) for end in ("enter", "leave"))
    inputs = {"enter": rows(enter), "leave": rows(np.concatenate([leave[:low], leave[latent : latent + low]]))}
    inputs |= {"z": z[None].astype(np.float32), "size": np.array([height, width], np.int32)}
    run = sessions({"hyper": exact_graphs(integers, low)["hyper.onnx"]}, level)["hyper"]
    found_x, _, found_mean, found_index = run.run(None, inputs)
    assert np.array_equal(found_x[0], x)
    assert np.array_equal(found_mean[0], mean[:low])
    assert np.array_equal(found_index[0], index[:low])


def test_exact_graphs_hold_nothing_that_a_runtime_computes_inexactly(packs: dict[str, Pack]) -> None:
    """Products and sums of float32, and roundings; other types occur in stored weights and as results only."""
    for model_pack in packs.values():
        for name in EXACT:
            graph = onnx.load(model_pack.folder / f"{name}.onnx").graph
            operators = {node.op_type for node in graph.node}
            assert operators <= MOVES_NUMBERS | {"Add", "Clip", "Conv", "Floor", "Mul"}
            casts = [node for node in graph.node if node.op_type == "Cast"]
            assert {node.attribute[0].i for node in casts} == {onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8}


def test_sums_without_room_for_rounding_are_refused() -> None:
    model = load("photo", dtype=torch.float32)
    bias, weight = model.integers["depth1.bias"].clone(), model.integers["depth1.weight"]
    bias[0] = 2**24 - 30 - hyper.ACTIVATION_MAX * weight[0].abs().sum()
    with pytest.raises(ValueError, match="depth1: a partial sum"):
        export.graphs(dataclasses.replace(model, integers=model.integers | {"depth1.bias": bias}), None)


def test_pieces_with_their_halo_are_those_of_the_whole(packs: dict[str, Pack]) -> None:
    model_pack = next(iter(packs.values()))
    halo, quality = model_pack.manifest["halo"]["synthesis"], np.array([[5000]])
    y = np.random.default_rng(0).normal(size=(1, model_pack.sizes["M"], 2 * halo + 6, 2 * halo + 5)).astype(np.float32)

    def picture(latent: np.ndarray) -> np.ndarray:
        rows = {name: model_pack.modulation(name, quality) for name in ("enter_level", "up_level")}
        base, features = model_pack.run("features", y=latent, **rows)
        row = model_pack.modulation("quarter_level", quality)
        return model_pack.run("synthesis", base=base, features=features, quarter_level=row)[0]

    whole, part = picture(y), picture(y[:, :, 2:-2, 1:-1])
    apart, inside = np.abs(whole[:, :, 32:-32, 16:-16] - part), slice(16 * halo, -16 * halo)
    assert apart[..., inside, inside].max() < 1e-4 * np.abs(whole).max()
    assert apart.max() > 1e-1 * np.abs(whole).max()


def test_the_manifest_tells_what_is_in_the_folder(packs: dict[str, Pack]) -> None:
    for model_pack in packs.values():
        listed = model_pack.manifest["files"]
        assert {path.name for path in model_pack.folder.iterdir()} == {*listed, "pack.json"}
        for name, entry in listed.items():
            content = (model_pack.folder / name).read_bytes()
            assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert sum(entry["bytes"] for name, entry in listed.items() if name not in FOR_ENCODING) <= 7 * 2**20
        assert sum(entry["bytes"] for entry in listed.values()) <= 16 * 2**20


def test_the_page_says_the_sizes(packs: dict[str, Pack]) -> None:
    """The table of docs/WEB.md, and what a browser fetches to decode, for realism and to encode."""
    page = (Path(__file__).parents[2] / "docs" / "WEB.md").read_text()
    sizes = {
        found.manifest["name"]: {path.name: path.stat().st_size for path in found.folder.iterdir()}
        for found in packs.values()
    }
    table = {name: int(kib) for name, kib in re.findall(r"^\| `([\w.-]+)` \| (\d+) \|", page, re.MULTILINE)}
    assert table.keys() == sizes["photo"].keys()
    assert all(abs(kib - sizes["photo"][name] / 2**10) <= 1 for name, kib in table.items())
    numbers = r"([\d.]+) MiB to decode .*?, ([\d.]+) more for realism, ([\d.]+) more to encode \(`fast`: (.*?)\)"
    [(*photo, fast)] = re.findall(numbers, " ".join(page.split()))
    for name, stated in (("photo", photo), ("fast", re.findall(r"[\d.]+\d", fast))):
        realism = sizes[name]["realism.onnx"]
        encoding = sum(sizes[name][part] for part in FOR_ENCODING)
        decoding = sum(sizes[name].values()) - realism - encoding
        assert stated == [f"{size / 2**20:.1f}" for size in (decoding, realism, encoding)], name


def test_the_same_model_gives_the_same_files(packs: dict[str, Pack], tmp_path: Path) -> None:
    for model_pack in packs.values():
        assert run_train("onnx", model_pack.manifest["name"], tmp_path / "again").exit_code == 0
        assert json.loads((tmp_path / "again" / "pack.json").read_text()) == model_pack.manifest


def test_a_model_without_context_quarter_stage_filters_and_realism(tmp_path: Path, photo: Image.Image) -> None:
    torch.manual_seed(0)
    codec, shipped = TrainableCodec(SMALL), load("photo")
    torch.nn.init.normal_(codec.transforms.synthesis.leave.weight, std=0.02)
    tables = Tables(np.ascontiguousarray(shipped.tables.hyper[:, : SMALL.hyper]), shipped.tables.latent)
    curvature = torch.ones(SMALL.levels, SMALL.latent)
    integers, density = codec.hyper_synthesis.integers(), codec.density.state_dict()
    path = tmp_path / "small.safetensors"
    save(path, SMALL, codec.transforms, integers, tables, shipped.centroid, curvature, density, {})
    assert run_train("onnx", path, tmp_path / "pack").exit_code == 0
    small = Pack(tmp_path / "pack")
    assert [small.sizes[letter] for letter in "CDEGR"] == [0] * 5
    pixels = np.asarray(photo)[:70, :93]
    data = pack.encode(small, pixels, 30)
    model = load(str(path), dtype=torch.float32)
    for scale in (1, 8):
        expected = decoder.decode_pixels(model, *bitstream.read(data), View(scale))
        assert levels_apart(pack.decode(small, data, scale)[0], expected) <= 1


def test_a_model_of_the_second_generation(tmp_path: Path, photo: Image.Image) -> None:
    path = second_generation(TINY, tmp_path / "tiny.safetensors")
    assert run_train("onnx", path, tmp_path / "pack").exit_code == 0
    tiny, model = Pack(tmp_path / "pack"), load(str(path), dtype=torch.float32)
    pixels = np.asarray(photo)[:150, :93]
    data = pack.encode(tiny, pixels, 50, tile=64)
    header, tiles = bitstream.read(data)
    _, expected = bitstream.read(encoder.encode_pixels(model, pixels, 50, tile=64))
    assert sum(mine == right for mine, right in zip(tiles, expected, strict=True)) >= 0.8 * len(tiles)
    offsets = np.random.default_rng(0).integers(-60, 60, header.places(), np.int8)
    mapped = encoder.encode_pixels(model, pixels, 50, tile=64, chunks={QUALITY_MAP: write_map(offsets)})
    for scale in (1, 8):
        for file in (data, mapped):
            expected_view = decoder.decode_pixels(model, *bitstream.read(file), View(scale))
            assert levels_apart(pack.decode(tiny, file, scale)[0], expected_view) <= 1


def test_realism_behind_the_second_generation(
    tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph takes the body's features, at 1/16 of the size, as the graph `features` gives them."""
    path = second_generation(TINY, tmp_path / "tiny.safetensors")
    model = load(str(path), dtype=torch.float32)
    torch.manual_seed(0)
    net = Translator(config_for(model.config))
    for name, parameter in net.named_parameters():
        if name.endswith("task.table"):
            torch.nn.init.normal_(parameter, std=0.1)
    torch.nn.init.normal_(net.leave.weight, std=0.01)
    (tmp_path / "realism").mkdir()
    translator_weights.save(tmp_path / "realism" / "tiny.safetensors", net, {"model": model.identity.hex()})
    monkeypatch.setattr("lapic.codec.decode.realism.REALISM", tmp_path / "realism")
    assert run_train("onnx", path, tmp_path / "pack").exit_code == 0
    tiny = Pack(tmp_path / "pack")
    assert [tiny.sizes[letter] for letter in "BEGR"] == [TINY.coarse, 48, 96, 2 * TINY.levels]
    data = pack.encode(tiny, np.asarray(photo)[:70, :93], 50)
    faithful = pack.decode(tiny, data)[0]
    for degree in (0.4, 1):
        expected = decoder.decode_pixels(model, *bitstream.read(data), View(realism=degree))
        assert levels_apart(faithful, expected) > 1
        assert levels_apart(pack.decode(tiny, data, realism=degree)[0], expected) <= 1


def test_a_damaged_realistic_decoder_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "realism").mkdir()
    (tmp_path / "realism" / "fast.safetensors").write_bytes(b"no weights")
    monkeypatch.setattr("lapic.codec.decode.realism.REALISM", tmp_path / "realism")
    result = run_train("onnx", "fast", tmp_path / "pack")
    assert result.exit_code == 1
    assert "fast.safetensors" in result.output and len(result.output.splitlines()) == 1
    assert not (tmp_path / "pack").exists()


def test_what_is_no_model_gets_one_line(tmp_path: Path) -> None:
    result = run_train("onnx", "nothing", tmp_path / "pack")
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "nothing" in result.output
    assert not (tmp_path / "pack").exists()


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = run_train("onnx", "photo", tmp_path / "pack")
    assert result.exit_code == 1
    assert result.output == "Error: the package onnx is missing: pip install 'lapic[web]'\n"
