"""Own models: given by file or by name, or found by their ids; and weights files that are none."""

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file

import lapic
import lapic.codec.pillow_plugin
from lapic import bitstream
from lapic.codec.cli import main
from lapic.codec.defaults import DEFAULT_MODEL
from lapic.codec.model import shipped, translator_weights
from lapic.codec.model.codec_weights import default_dtype, load, load_by_id
from lapic.codec.model.weights_file import identity, read_weights
from lapic.codec.realtime import RealtimeDecoder


def run_lapic(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fails_with(result: Result, *words: str) -> None:
    """One clear line and exit code 1."""
    assert result.exit_code == 1, (result.output, result.exception)
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


def write_own(path: Path, change: int) -> bytes:
    """A model of other integers, and so another id, than the shipped one; returns the id."""
    tensors, metadata = read_weights(shipped.find_model(DEFAULT_MODEL))
    tensors["integers.depth1.bias"] = tensors["integers.depth1.bias"] + change
    model = load()
    integers = model.integers | {"depth1.bias": model.integers["depth1.bias"] + change}
    model_id = identity(integers, model.tables)
    save_file(tensors, path, metadata | {"id": model_id.hex()})
    return model_id


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("own") / "mine.safetensors"
    return path, write_own(path, 1)


@pytest.fixture(autouse=True)
def no_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folders of own models are empty, whatever the machine has."""
    monkeypatch.delenv("LAPIC_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> Image.Image:
    return photo.crop((100, 60, 164, 108))


@pytest.fixture
def coded(small: Image.Image, own: tuple[Path, bytes], tmp_path: Path) -> Path:
    """A file by the own model."""
    small.save(tmp_path / "in.png")
    out = tmp_path / "own.lapic"
    assert run_lapic("encode", tmp_path / "in.png", out, "--model", own[0], "-e", 0).exit_code == 0
    assert bitstream.read_header(out.read_bytes()).model == own[1]
    return out


@pytest.fixture(params=["LAPIC_MODELS", "XDG_DATA_HOME"])
def in_folder(request: pytest.FixtureRequest, own: tuple[Path, bytes], tmp_path: Path) -> Iterator[None]:
    """The own model lies in a folder that is searched, among files of other kinds."""
    base = tmp_path / "folder"
    folder = base if request.param == "LAPIC_MODELS" else base / "lapic" / "models"
    folder.mkdir(parents=True)
    (folder / "mine.safetensors").symlink_to(own[0])
    (folder / "a-damaged.safetensors").write_bytes(own[0].read_bytes()[:100])
    (folder / "b-jpeg.safetensors").symlink_to(shipped.WEIGHTS / "translators" / "jpeg.safetensors")
    (folder / "c-folder.safetensors").mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.MonkeyPatch.context() as patch:
        absent = str(tmp_path / "absent")
        patch.setenv(request.param, os.pathsep.join([absent, str(base)]) if folder == base else str(base))
        yield


def test_without_the_model_the_error_says_what_to_do(coded: Path, own: tuple[Path, bytes], tmp_path: Path) -> None:
    for command in (["decode", coded, tmp_path / "out.png"], ["verify", coded]):
        fails_with(
            run_lapic(*command), own[1].hex(), "--model", "LAPIC_MODELS", str(tmp_path / "data" / "lapic" / "models")
        )
    assert run_lapic("info", coded).stdout.splitlines()[1].startswith(f"model {own[1].hex()} (not installed)")
    with pytest.raises(lapic.Error, match=own[1].hex()):
        lapic.decode(coded.read_bytes())
    with Image.open(coded) as image, pytest.raises(OSError, match=own[1].hex()):
        image.load()


def test_given_by_file(coded: Path, own: tuple[Path, bytes], tmp_path: Path) -> None:
    assert run_lapic("decode", coded, tmp_path / "out.png", "--model", own[0]).exit_code == 0
    assert run_lapic("verify", coded, "--model", own[0]).exit_code == 0
    assert f"model {own[1].hex()} (mine)" in run_lapic("info", coded, "--model", own[0]).stdout
    data = coded.read_bytes()
    for name in (own[0], str(own[0])):
        assert np.array_equal(np.asarray(lapic.decode(data, model=name)), np.asarray(Image.open(tmp_path / "out.png")))
        assert lapic.info(data, model=name)["model"] == {"id": own[1].hex(), "name": "mine"}


def test_many_files_by_one_model(coded: Path, own: tuple[Path, bytes], tmp_path: Path) -> None:
    (tmp_path / "again.lapic").write_bytes(coded.read_bytes())
    result = run_lapic("decode", coded, tmp_path / "again.lapic", tmp_path / "out", "--model", own[0], "--jobs", 1)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_found_by_its_id(in_folder: None, coded: Path, own: tuple[Path, bytes], tmp_path: Path) -> None:
    assert run_lapic("decode", coded, tmp_path / "out.png").exit_code == 0
    assert run_lapic("verify", coded).exit_code == 0
    assert f"model {own[1].hex()} (mine)" in run_lapic("info", coded).stdout
    with Image.open(coded) as image:
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(tmp_path / "out.png")))
    assert f"own model mine {own[1].hex()}" in run_lapic("--version").stdout
    assert load_by_id(own[1]).name == "mine"


def test_known_by_its_name(in_folder: None, small: Image.Image, own: tuple[Path, bytes]) -> None:
    data = lapic.encode(small, model="mine", effort=0)
    assert lapic.info(data)["model"] == {"id": own[1].hex(), "name": "mine"}
    assert lapic.decode(data, model="mine").size == small.size
    assert lapic.info(lapic.encode(small, model="mine", size=1000, effort=0))["model"]["name"] == "mine"


def test_shipped_models_come_first(in_folder: None, small: Image.Image) -> None:
    assert lapic.info(lapic.encode(small, effort=0))["model"]["name"] == "eye"
    assert shipped.find_model("photo").parent == shipped.WEIGHTS


def test_in_real_time(in_folder: None, small: Image.Image, own: tuple[Path, bytes]) -> None:
    decode = RealtimeDecoder(load_by_id(own[1], "auto"), *small.size)
    with pytest.raises(lapic.Error, match=f"{load().identity.hex()}.*{own[1].hex()}"):
        decode(bytearray(lapic.encode(small, effort=0, tile=0, lanes=True)))


def test_another_model_than_the_files(coded: Path, own: tuple[Path, bytes], small: Image.Image, tmp_path: Path) -> None:
    ids = own[1].hex(), load().identity.hex()
    for command in (["decode", coded, tmp_path / "out.png"], ["verify", coded], ["info", coded]):
        fails_with(run_lapic(*command, "--model", DEFAULT_MODEL), *ids)
    for read in (lapic.decode, lapic.info):
        with pytest.raises(lapic.Error, match=ids[0]) as raised:
            read(coded.read_bytes(), model=DEFAULT_MODEL)
        assert ids[1] in str(raised.value)
        with pytest.raises(lapic.Error, match=ids[0]):
            read(lapic.encode(small, effort=0), model=own[0])
    assert not (tmp_path / "out.png").exists()


def test_large_pictures_by_an_own_model(
    coded: Path, own: tuple[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyvips")
    monkeypatch.setattr("lapic.codec.command.large.LARGE", 1)
    fails_with(run_lapic("decode", coded, tmp_path / "out.png"), own[1].hex())
    assert run_lapic("decode", coded, tmp_path / "out.png", "--model", own[0]).exit_code == 0


def test_folders_that_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a")
    monkeypatch.setenv("LAPIC_MODELS", os.pathsep.join(["~/weights", "", "here"]))
    monkeypatch.setenv("XDG_DATA_HOME", "no/absolute/path")
    named = [Path("/home/a/weights"), Path("here")]
    assert shipped.model_folders() == [*named, Path("/home/a/.local/share/lapic/models")]
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert shipped.model_folders() == [*named, Path("/data/lapic/models")]


def test_realism_without_a_realistic_decoder(coded: Path, own: tuple[Path, bytes], tmp_path: Path) -> None:
    result = run_lapic("decode", coded, tmp_path / "out.png", "--model", own[0], "--realism", 1)
    fails_with(result, "no realistic decoder", "mine")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is mapped is told by Linux alone")
def test_a_loaded_model_maps_no_file(tmp_path: Path) -> None:
    """The process would end if the file were overwritten in place, and Windows would not let it be replaced."""
    path = tmp_path / "mapped.safetensors"
    write_own(path, 1)
    model = load(str(path))
    gc.collect()
    assert str(path) not in Path("/proc/self/maps").read_text()
    assert model.tables.hyper.size


def test_a_changed_file_is_read_anew(tmp_path: Path, small: Image.Image) -> None:
    path = tmp_path / "changing.safetensors"
    ids = []
    for change in (1, 2):
        ids.append(write_own(path, change))
        os.utime(path, ns=(change * 10**9, change * 10**9))
        data = lapic.encode(small, model=path, effort=0)
        assert bitstream.read_header(data).model == ids[-1]
        assert lapic.decode(data, model=path).size == small.size
    assert ids[0] != ids[1]


@pytest.fixture(scope="module")
def wrong(own: tuple[Path, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Files that hold no codec model, each with a word that the error says."""
    folder = tmp_path_factory.mktemp("wrong")
    tensors, metadata = read_weights(own[0])

    def made(name: str, kept: dict[str, torch.Tensor], told: dict[str, str] | None) -> Path:
        save_file(kept, folder / f"{name}.safetensors", told)
        return folder / f"{name}.safetensors"

    def written(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    def changed(name: str, tensor: str, factor: int) -> Path:
        """The model with numbers that the format forbids, and the id that belongs to them."""
        broken = tensors | {tensor: tensors[tensor] * factor}
        integers = {key.removeprefix("integers."): v for key, v in broken.items() if key.startswith("integers.")}
        latent = [table.numpy() for table in broken["tables.latent"].split(broken["tables.lengths"].tolist())]
        model_id = identity(integers, bitstream.Tables(broken["tables.hyper"].numpy(), latent))
        return made(name, broken, metadata | {"id": model_id.hex()})

    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    card = json.loads(metadata["card"])
    one = {"a": torch.zeros(3)}
    return {
        "translator": (shipped.WEIGHTS / "translators" / "jpeg.safetensors", "translator"),
        "realistic decoder": (shipped.WEIGHTS / "realism" / "photo.safetensors", "translator"),
        "foreign": (made("foreign", one, None), "not those of a codec model"),
        "foreign with metadata": (made("foreign-2", one, {"format": "pt"}), "not those of a codec model"),
        "id that is none": (made("no-id", one, metadata | {"id": "photo"}), "not those of a codec model"),
        "no tensors": (made("none", one, metadata), "damaged"),
        "no configuration": (made("config", tensors, metadata | {"config": "[]"}), "damaged"),
        "another configuration": (made("other", tensors, metadata | {"config": '{"latent": 8}'}), "damaged"),
        "no JSON": (made("json", tensors, metadata | {"card": "{"}), "damaged"),
        "qualities": (made("q", tensors, metadata | {"card": json.dumps(card | {"lowest": "low"})}), "damaged"),
        "sums": (changed("sums", "integers.point1.bias", 2**12), "damaged"),
        "latent tables": (changed("latent", "tables.latent", 2), "damaged"),
        "hyper tables": (changed("hyper", "tables.hyper", 0), "damaged"),
        "scales": (made("scales", tensors | {"scales.synthesis.up.weight": torch.ones(3)}, metadata), "damaged"),
        "another id": (made("id", tensors, metadata | {"id": "00000000"}), "do not match"),
        "truncated": (written("cut.safetensors", own[0].read_bytes()[:-5]), "no whole safetensors file"),
        "truncated early": (written("early.safetensors", own[0].read_bytes()[:100]), "no whole safetensors file"),
        "empty": (written("empty.safetensors", b""), "no whole safetensors file"),
        "text": (written("notes.txt", b"not a model\n" * 100), "no whole safetensors file"),
        "folder": (folder / "folder", "read: a folder"),
        "pipe": (folder / "pipe", "not a file"),
        "missing": (folder / "missing.safetensors", "no such file"),
        "long name": (Path("x" * 5000), "no such file"),
    }


KINDS = [
    "translator", "realistic decoder", "foreign", "foreign with metadata", "id that is none", "no tensors",
    "no configuration", "another configuration", "no JSON", "qualities", "sums", "latent tables", "hyper tables",
    "scales", "another id", "truncated", "truncated early", "empty", "text", "folder", "pipe", "missing", "long name",
]  # fmt: skip


def test_every_kind_is_tried(wrong: dict) -> None:
    assert set(KINDS) == set(wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_hold_no_codec_model(
    kind: str, wrong: dict, coded: Path, small: Image.Image, tmp_path: Path
) -> None:
    path, word = wrong[kind]
    fails_with(run_lapic("encode", tmp_path / "in.png", tmp_path / "new.lapic", "--model", path), word)
    with pytest.raises(lapic.Error, match=word) as raised:
        lapic.encode(small, model=path)
    assert "\n" not in str(raised.value)
    for command in (["decode", coded, tmp_path / "out.png"], ["verify", coded], ["info", coded]):
        if command[0] == "info" and word in ("damaged", "do not match"):
            continue  # it reads no more of the model than its id
        fails_with(run_lapic(*command, "--model", path))
    assert {file.name for file in tmp_path.iterdir()} == {"in.png", "own.lapic"}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"translator"}))
def test_files_that_hold_no_translator(kind: str, wrong: dict, small: Image.Image, tmp_path: Path) -> None:
    path, _ = wrong[kind]
    word = "see --realism" if kind == "realistic decoder" else "weights"
    small.save(tmp_path / "in.png")
    fails_with(run_lapic("translate", tmp_path / "in.png", tmp_path / "out.png", "--model", path), word)
    with pytest.raises(lapic.Error):
        lapic.translate(small, path)


def test_translators_that_are_damaged(small: Image.Image, tmp_path: Path) -> None:
    tensors, metadata = read_weights(shipped.WEIGHTS / "translators" / "jpeg.safetensors")
    config = json.loads(metadata["config"])
    changes = [{"config": "[]"}, {"config": "{}"}, {"kind": "lptn"}, {"card": "7"}, {"config": "{"}]
    changes += [{"config": json.dumps(config | {"widths": wide})} for wide in ([], [0, 0], ["a", "b"], 7)]
    for change in changes:
        save_file(tensors, tmp_path / "t.safetensors", metadata | change)
        with pytest.raises(lapic.Error, match="damaged"):
            lapic.translate(small, tmp_path / "t.safetensors")


def test_what_is_no_name_of_a_model(small: Image.Image) -> None:
    data = lapic.encode(small, effort=0)
    for name in (7, None, ["photo"], b"photo"):
        with pytest.raises(TypeError, match="a model is given by its name"):
            lapic.encode(small, model=name)
        with pytest.raises(TypeError, match="a translator is given by"):
            lapic.translate(small, name)
        if name is not None:
            with pytest.raises(TypeError, match="a model is given by its name"):
                lapic.decode(data, model=name)


def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    identifier = load().identity
    for device in ("cuda", "cuda:7"):
        with pytest.raises(lapic.Error, match="no CUDA device"):
            load_by_id(identifier, device)
    for device in ("gpu", "meta", "", None):
        with pytest.raises(ValueError, match="none of auto, cpu, cuda and cuda:N"):
            load_by_id(identifier, device)
    assert load_by_id(identifier, "auto") is load_by_id(identifier, torch.device("cpu")) is load(device="cpu")
    with pytest.raises(lapic.Error, match="no CUDA device"):
        translator_weights.load("jpeg", "cuda")


def test_a_device_that_fails_is_not_called_damaged_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 64)
    with pytest.raises((AssertionError, RuntimeError)):  # of torch, about the device
        load(device="cuda:63")


@pytest.mark.parametrize(
    ("machine", "supported", "avx512_bf16", "amx", "expected"),
    [
        ("x86_64", True, False, False, torch.float32),  # AVX-512 alone: bfloat16 is emulated
        ("x86_64", True, True, False, torch.bfloat16),
        ("AMD64", True, False, True, torch.bfloat16),
        ("x86_64", False, False, False, torch.float32),
        ("aarch64", True, False, False, torch.bfloat16),
        ("arm64", False, False, False, torch.float32),
    ],
)
def test_networks_are_in_a_type_that_the_processor_multiplies(
    monkeypatch: pytest.MonkeyPatch, machine: str, supported: bool, avx512_bf16: bool, amx: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert default_dtype(torch.device("cpu")) == expected
    assert default_dtype(torch.device("cuda")) == torch.float16
