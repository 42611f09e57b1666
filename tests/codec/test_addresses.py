"""Files at addresses: an S3 server on this machine, and storages that fail or can rename."""

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import lapic
from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.cli import main
from lapic.codec.command.manifest import check_manifest
from lapic.codec.files import remote
from tests.storage import s3_server

fsspec = pytest.importorskip("fsspec", reason="needs the extra remote")


def run_lapic(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def png(photo: Image.Image, number: int = 0) -> bytes:
    out = io.BytesIO()
    photo.crop((number, 0, 64 + number, 48)).save(out, "png")
    return out.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator:
    with s3_server() as store:
        yield store


@pytest.fixture
def store(server, photo: Image.Image) -> Iterator:
    """A store with a tree of photos: two in a/, one below it, one that is broken, and what is left out."""
    for name, data in {
        "a/0.png": png(photo), "a/1.png": png(photo, 1), "a/deep/2.png": png(photo, 2), "a/deep/broken.png": b"none",
        "a/notes.txt": b"text", "a/.hidden.png": b"x",
    }.items():  # fmt: skip
        server.pipe_file(f"photos/{name}", data)
    yield server
    for bucket in ("photos", "small"):
        if found := server.find(bucket):
            server.rm(found)


class Failing(fsspec.AbstractFileSystem):
    """A storage that refuses everything with an exception of its library."""

    protocol = "failing"
    error: Exception = OSError(28, "No space left on device")

    def _answer(self, *arguments: object, **options: object) -> None:
        raise self.error

    info = cat_file = _answer
    pipe_file = find = _answer

    def exists(self, path: str, **options: object) -> bool:
        return False


@pytest.fixture
def failing() -> type[Failing]:
    fsspec.register_implementation("failing", Failing, clobber=True)
    return Failing


def test_a_tree_goes_from_bucket_to_bucket(store, tmp_path: Path) -> None:
    result = run_lapic("encode", "-e", 0, "-r", "s3://photos/a", "s3://small/out", "--manifest", "s3://small/all.jsonl")
    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if "lapic:" in line] == [
        "lapic: s3://photos/a/deep/broken.png: not a picture that Pillow can read"
    ]
    made = {name.removeprefix("small/out/") for name in store.find("small/out")}
    assert made == {"0.lapic", "1.lapic", "deep/2.lapic"}
    rows = [json.loads(line) for line in store.cat_file("small/all.jsonl").splitlines()]
    assert {row["source"]: row["status"] for row in rows} == {
        "s3://photos/a/0.png": "done", "s3://photos/a/1.png": "done", "s3://photos/a/deep/2.png": "done",
        "s3://photos/a/deep/broken.png": "failed",
    }  # fmt: skip
    for row in rows:
        if row["status"] == "done":
            assert row["bytes"] == len(store.cat_file(row["target"]))
    with Image.open(io.BytesIO(store.cat_file("photos/a/1.png"))) as image:
        assert store.cat_file("small/out/1.lapic") == lapic.encode(image, effort=0)
    assert run_lapic("decode", "-r", "s3://small/out", tmp_path, "-j", 2).exit_code == 0
    assert Image.open(tmp_path / "deep" / "2.png").size == (64, 48)
    assert run_lapic("verify", "-r", "s3://small/out/").stdout.count("all checksums match") == 3
    again = run_lapic("encode", "-e", 0, "-r", "s3://photos/a", "s3://small/out", "--skip-existing", "--json", "-")
    assert sorted(row["status"] for row in json.loads(again.stdout)) == ["failed", "skipped", "skipped", "skipped"]


def test_single_files_and_patterns(store, tmp_path: Path) -> None:
    assert run_lapic("encode", "-e", 0, "s3://photos/a/0.png", "s3://small/one.lapic").exit_code == 0
    assert "64 x 48" in run_lapic("info", "s3://small/one.lapic").stdout
    assert run_lapic("decode", "s3://small/one.lapic", f"file://{tmp_path}/one.png").exit_code == 0
    assert Image.open(tmp_path / "one.png").size == (64, 48)
    assert run_lapic("restore", tmp_path / "one.png", "s3://small/one.png").exit_code == 0
    assert run_lapic("encode", "-e", 0, "s3://photos/a/[01].*", f"{tmp_path}/out/").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.lapic", "1.lapic"]


def test_nothing_is_replaced_without_force(store) -> None:
    store.pipe_file("small/0.lapic", b"precious")
    result = run_lapic("encode", "-e", 0, "s3://photos/a/0.png", "s3://small/0.lapic")
    assert (result.exit_code, result.stderr) == (1, "lapic: s3://small/0.lapic exists: --force replaces it\n")
    with pytest.raises(lapic.Error, match="exists"):  # which came after the check
        files.write_output("s3://small/0.lapic", b"mine", force=False)
    assert store.cat_file("small/0.lapic") == b"precious"
    assert run_lapic("encode", "-e", 0, "s3://photos/a/0.png", "s3://small/0.lapic", "--force").exit_code == 0
    assert lapic.info(store.cat_file("small/0.lapic"))["width"] == 64


def test_what_is_not_there(store) -> None:
    for arguments, line in (
        (("info", "s3://small/none.lapic"), "cannot read s3://small/none.lapic: No such file or directory"),
        (("info", "s3://gone/x.lapic"), "cannot read s3://gone/x.lapic: The specified bucket does not exist"),
        (("encode", "-e", 0, "s3://photos/a/0.png", "s3://gone/x.lapic"),
         "cannot write s3://gone/x.lapic: The specified bucket does not exist"),
        (("encode", "-e", 0, "-r", "s3://gone/", "s3://small/"),
         "cannot read s3://gone/: The specified bucket does not exist"),
        (("encode", "s3://photos/z*.png", "s3://small/"), "s3://photos/z*.png matches no file"),
        (("info", "nonsense://x"), "cannot read nonsense://x: Protocol not known: nonsense"),
        (("info", "ftp://me:secret@host/x"),
         "ftp://: a password does not belong in an address: see docs/SCALE.md"),
    ):  # fmt: skip
        result = run_lapic(*arguments)
        assert result.exit_code == 1
        assert result.stderr.splitlines()[0] == f"lapic: {line}"
        assert "Traceback" not in result.stderr


def test_one_bad_address_does_not_stop_the_others(store) -> None:
    result = run_lapic("encode", "-e", 0, "nonsense://x", "s3://photos/a/0.png", "s3://photos/none.png", "s3://small/")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "lapic: cannot read nonsense://x: Protocol not known: nonsense",
        "lapic: cannot read s3://photos/none.png: No such file or directory",
        "1 done, 2 failed",
    ]
    assert store.find("small") == ["small/0.lapic"]


def test_without_credentials(store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    result = run_lapic("info", "s3://small/one.lapic")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "redentials" in result.stderr


def test_when_nobody_listens(store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    result = run_lapic("info", "s3://small/one.lapic")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert result.exit_code == 1
    assert result.stderr.startswith("lapic: cannot read s3://small/one.lapic: Could not connect")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (PermissionError("Access Denied"), "Access Denied"),
        (RuntimeError("QuotaExceeded: the bucket is full\nRequest 17"), "QuotaExceeded: the bucket is full"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_storage_that_refuses(error: Exception, why: str, failing: type[Failing], tmp_path: Path) -> None:
    failing.error = error
    with pytest.raises(lapic.Error) as raised:
        files.write_output("failing://full/x", b"data")
    assert str(raised.value) == f"cannot write failing://full/x: {why}"
    with pytest.raises(lapic.Error, match="cannot read failing://full/x"):
        files.read_input("failing://full/x")


def test_a_file_system_that_can_rename_shows_no_half_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """fsspec's local one stands for those of servers, such as sftp."""
    monkeypatch.setattr(remote, "is_address", lambda name: True)
    address, local = f"file://{tmp_path}/new/x", fsspec.get_filesystem_class("file")
    remote.write(address, b"whole", force=False)
    assert (tmp_path / "new" / "x").read_bytes() == b"whole"
    with pytest.raises(lapic.Error, match="exists"):
        remote.write(address, b"other", force=False)

    def break_off(self: object, path: str, data: bytes) -> None:
        Path(path).write_bytes(data[:2])
        raise OSError(104, "Connection reset by peer")

    monkeypatch.setattr(local, "pipe_file", break_off)
    with pytest.raises(lapic.Error, match="Connection reset by peer"):
        remote.write(address, b"other", force=True)
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "new").iterdir()] == [("x", b"whole")]


def test_local_names_need_no_fsspec(monkeypatch: pytest.MonkeyPatch, photo: Image.Image, tmp_path: Path) -> None:
    for module in ("fsspec", "fsspec.core"):
        monkeypatch.setitem(sys.modules, module, None)
    photo.crop((0, 0, 64, 64)).save(tmp_path / "a.png")
    assert run_lapic("encode", "-e", 0, tmp_path / "a.png", f"file://{tmp_path}/a.lapic").exit_code == 0
    result = run_lapic("info", "s3://bucket/a.lapic")
    assert result.stderr == "lapic: cannot read s3://bucket/a.lapic: fsspec is missing: pip install 'lapic[remote]'\n"


def test_a_parquet_manifest(photo: Image.Image, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    photo.crop((0, 0, 64, 64)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"none")
    run_lapic("encode", "-e", 0, tmp_path, f"{tmp_path}/out/", "--manifest", tmp_path / "all.parquet")
    rows = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [(Path(row["source"]).name, row["status"], bool(row["error"])) for row in rows] == [
        ("a.png", "done", False), ("b.png", "failed", True),
    ]  # fmt: skip
    assert rows[0]["bytes"] == (tmp_path / "out" / "a.lapic").stat().st_size


def test_an_encoding_measures_each_file(store) -> None:
    result = run_lapic("encode", "-e", 0, "s3://photos/a/", "s3://small/", "--metrics", "psnr", "--json", "-")
    rows = json.loads(result.stdout)
    assert len(rows) == 2
    for row in rows:
        assert 25 < row["psnr"] < 60
        assert row["bytes"] == len(store.cat_file(row["target"]))
    result = run_lapic("encode", "-e", 0, "s3://photos/a/", "s3://small/", "--metrics", "psnr,beauty")
    assert (result.exit_code, "there is no metric beauty" in result.stderr) == (2, True)


def test_an_evaluation_of_addresses(store) -> None:
    arguments = ("evaluate", "s3://photos/a/0.png", "s3://photos/none.png", "--out", "s3://small/report", "--codecs",
                 "jpeg", "--qualities", "jpeg=20,80", "--metrics", "psnr", "--jobs", 1, "--no-report")  # fmt: skip
    result = run_lapic(*arguments)
    assert result.exit_code == 1
    assert "lapic: cannot read s3://photos/none.png: No such file or directory" in result.stderr
    assert "s3://small/report/results.json" in result.stdout
    assert json.loads(store.cat_file("small/report/results.json"))["curves"]
    before = store.info("small/report/points.jsonl")["LastModified"]
    assert run_lapic(*arguments).exit_code == 1
    assert store.info("small/report/points.jsonl")["LastModified"] == before


def test_a_store_that_copies_looks_names_up_before_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As object stores do that cannot refuse to replace something themselves."""
    from fsspec import AbstractFileSystem
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(MemoryFileSystem, "mv", AbstractFileSystem.mv)
    remote.write("memory://b/x.lapic", b"old", force=False)
    with pytest.raises(lapic.Error, match="exists: --force"):
        remote.write("memory://b/x.lapic", b"new", force=False)
    assert remote.read("memory://b/x.lapic") == b"old"
    remote.write("memory://b/x.lapic", b"new", force=True)
    assert remote.read("memory://b/x.lapic") == b"new"


def test_a_manifest_replaces_no_other_object() -> None:
    remote.write("memory://b/notes.txt", b"keep", force=True)
    with pytest.raises(lapic.Error, match="is no manifest"):
        check_manifest("memory://b/notes.txt", [], [])
    with pytest.raises(lapic.Error, match="read or written"):
        check_manifest("memory://b/all.json", ["memory://b/all.json"], [])
    check_manifest("memory://b/new.txt", [], [])


@pytest.mark.parametrize("manifest", ["file://{}", "FILE://localhost{}"])
def test_a_manifest_that_is_named_by_an_address_replaces_nothing(
    manifest: str, photo: Image.Image, tmp_path: Path
) -> None:
    photo.crop((0, 0, 32, 32)).save(tmp_path / "a.png")
    source, target = tmp_path / "a.png", tmp_path / "a.lapic"
    for taken in (source, target):
        result = run_lapic("encode", "-e", 0, source, target, "--json", manifest.format(taken))
        assert (result.exit_code, target.exists()) == (1, False)
        assert "would replace a file that is read or written" in result.output


@pytest.mark.parametrize("option", ["--json", "--roi"])
def test_a_password_is_refused_in_every_address(option: str, photo: Image.Image, tmp_path: Path) -> None:
    photo.crop((0, 0, 32, 32)).save(tmp_path / "a.png")
    address = "http://me:secret@127.0.0.1:1/m.json"
    result = run_lapic("encode", "-e", 0, tmp_path / "a.png", tmp_path / "a.lapic", option, address)
    assert result.exit_code == 1
    assert "a password does not belong in an address" in result.output
    assert "secret" not in result.output


def test_names_with_empty_parts(photo: Image.Image, tmp_path: Path) -> None:
    """As objects of S3 may have them: a//b is another one than a/b."""
    for name in ("in/a.png", "in//b.png", "in/deep//c.png"):
        remote.write(f"memory://empty/{name}", png(photo), force=True)
    assert run_lapic("encode", "-e", 0, "-r", "memory://empty/in", tmp_path).exit_code == 0
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        "a.lapic", "b.lapic", "deep/c.lapic",
    ]  # fmt: skip
    for _ in range(2):
        result = run_lapic("encode", "-e", 0, "memory://empty/in", "memory://empty//out//", "--skip-existing")
        assert result.exit_code == 0, result.stderr
    assert "1 skipped" in result.stderr


def test_a_pattern_in_the_first_part_of_an_address(photo: Image.Image) -> None:
    remote.write("memory://first.png", png(photo), force=True)
    assert files.matches("memory://fir*.png") == ["memory://first.png"]


def test_an_address_without_a_name_does_not_stop_the_others(photo: Image.Image, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(photo))
    result = run_lapic("encode", "-e", 0, "http://127.0.0.1:1?photo=1", tmp_path / "a.png", f"{tmp_path}/out/")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "lapic: http://127.0.0.1:1?photo=1: it has no name by which its output could be called", "1 done, 1 failed",
    ]  # fmt: skip


@pytest.mark.parametrize("folder", ["out", "memory://out"])
def test_an_object_named_by_a_dot_has_no_output(folder: str) -> None:
    with pytest.raises(Error, match="no name by which its output could be called"):
        files.target_of(folder, ".", ".lapic")


def test_names_of_web_addresses_are_resolved() -> None:
    assert remote.inside("http://host/a%20b%C3%A9.png?x=1", None) == "a bé.png"
    assert remote.inside("http://host/in/sub%20folder/%2e%2e", "http://host/in/") == "sub folder/%2e%2e"
    assert remote.inside("http://host/in/a%2Fb.png", "http://host/in/") == "a%2Fb.png"
    assert remote.inside("s3://bucket/in/a%20b.png", "s3://bucket/in/") == "a%20b.png"


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_a_parquet_manifest_of_names_of_any_bytes(photo: Image.Image, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    source = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    photo.crop((0, 0, 32, 32)).save(source)
    manifest = tmp_path / "m.parquet"
    assert run_lapic("encode", "-e", 0, source, tmp_path / "a.lapic", "--json", manifest).exit_code == 0
    assert parquet.read_table(manifest)["source"].to_pylist() == [f"{tmp_path}/\\udcff.png"]
