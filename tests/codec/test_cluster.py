"""A Ray cluster of three nodes on this machine that works on photos of an S3 server."""

import io
import json
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import lapic
from lapic.codec import files
from lapic.codec.cli import main
from lapic.codec.command import batch, cluster
from tests.storage import s3_server

COUNT = 24
MEMORY = 80 * 2**20  # bytes of a node's object store


def run_lapic(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def store(photo: Image.Image) -> Iterator:
    with s3_server() as found:
        for number in range(COUNT):
            out = io.BytesIO()
            photo.crop((4 * number, 0, 4 * number + 64, 64)).save(out, "png")
            found.pipe_file(f"photos/{number % 2}/{number:02}.png", out.getvalue())
        found.pipe_file("photos/0/broken.png", b"none")
        yield found


@pytest.fixture(scope="module")
def nodes(store) -> Iterator:
    """The cluster, started after the S3 server, whose address is in the environment that it inherits."""
    pytest.importorskip("ray", reason="needs the extra cluster")
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # which the nodes cannot import
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        options = {"num_cpus": 1, "object_store_memory": MEMORY}
        made = Cluster(initialize_head=True, head_node_args=options | {"include_dashboard": False})
        for _ in range(2):
            made.add_node(**options)
        yield made
        made.shutdown()


@dataclass(frozen=True)
class Note:
    """A job for the functions below."""

    source: str
    target: str
    force: bool = False


def copy(job: Note) -> dict[str, Any]:
    """Copy a file; "deadly.txt" kills the process, "once.txt" does so the first time, when the copy is written."""
    name = Path(job.source).name
    if name == "deadly.txt":
        os._exit(1)
    files.check_absent(job.target, job.force)
    files.write_output(job.target, files.read_input(job.source), job.force)
    if name == "once.txt" and not job.force:
        os._exit(1)
    return {"notes": []}


def process(nodes: Any, pairs: list[batch.Pair]) -> dict[str, dict[str, Any]]:
    report = batch.Report()
    with cluster.cluster_of(nodes.address) as machines:
        batch.process(
            pairs,
            copy,
            lambda pair: Note(pair.source, pair.target),
            1,
            False,
            lambda row: None,
            report,
            machines,
        )
    return {Path(row["source"]).name: row for row in report.rows}


def test_a_process_that_dies_costs_its_own_file_at_most(nodes, tmp_path: Path) -> None:
    names = ["a.txt", "once.txt", "b.txt", "deadly.txt", "kept.txt", "c.txt"]
    (tmp_path / "out").mkdir()
    for name in names:
        (tmp_path / name).write_text(name)
    (tmp_path / "out" / "kept.txt").write_text("precious")
    rows = process(nodes, [batch.Pair(str(tmp_path / name), str(tmp_path / "out" / name)) for name in names])
    assert [rows[name].get("error") for name in ("a.txt", "once.txt", "b.txt", "c.txt")] == [None] * 4
    assert [rows[name]["status"] for name in names] == ["done", "done", "done", "failed", "failed", "done"]
    assert rows["deadly.txt"]["error"] == "the process that ran it died 4 times"
    assert rows["kept.txt"]["error"].endswith("kept.txt exists: --force replaces it")
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        "a.txt": "a.txt", "once.txt": "once.txt", "b.txt": "b.txt", "c.txt": "c.txt", "kept.txt": "precious",
    }  # fmt: skip


class _Ray:
    """In place of the package: a cluster of one processor, whose actors only note what they are given."""

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1}

    def remote(self, *_: object, **__: object) -> Any:
        return self

    options = remote

    @property
    def call(self) -> Any:
        return SimpleNamespace(remote=lambda *_: object())


@pytest.mark.parametrize(("died", "held"), [([], [0, 1]), ([0], [0]), ([1], [0, 2]), ([0, 1, 2], [0])])
def test_a_call_whose_process_died_gets_a_process_of_its_own(died: list[int], held: list[int]) -> None:
    """A process that dies at once takes the result of the call before it along."""
    machines, waiting = cluster.Cluster(_Ray(), on_gpus=False), deque(range(3))
    actor = _Ray()
    machines.held[actor] = []
    machines._hand_out(waiting, [(copy, None)] * 3, set(), Counter(died), lambda argument: argument)
    assert machines.held[actor] == held
    assert list(waiting) == [number for number in range(3) if number not in held]


def test_a_file_that_only_this_machine_has(nodes) -> None:
    rows = process(nodes, [batch.Pair("memory://a.txt", "memory://b.txt")])
    assert "other machines cannot open it" in rows["a.txt"]["error"]


def remove_when(done: Callable[[], bool], nodes: Any, node: Any) -> threading.Thread:
    def wait() -> None:
        while not done():
            time.sleep(0.02)
        nodes.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_an_interruption_ends_with_what_is_done(nodes, tmp_path: Path) -> None:
    class Stop(KeyboardInterrupt):
        pass

    def stop(number: int, outcome: dict) -> None:
        raise Stop

    (tmp_path / "a.txt").write_text("a")
    job = Note(str(tmp_path / "a.txt"), str(tmp_path / "b.txt"))
    with pytest.raises(Stop), cluster.cluster_of(nodes.address) as machines:
        machines.run([(copy, replace(job, target=f"{job.target}{n}")) for n in range(9)], stop)


def test_a_machine_is_lost_and_no_file_is(nodes, store, tmp_path: Path) -> None:
    manifest = tmp_path / "rows.json"
    plain = run_lapic("encode", "-e", 0, "-r", "s3://photos", "s3://small/plain")
    assert plain.exit_code == 1
    remover = remove_when(lambda: len(store.find("small/out")) > 3, nodes, nodes.worker_nodes.copy().pop())
    arguments = ("encode", "-e", 0, "-r", "s3://photos", "s3://small/out", "--cluster", nodes.address)
    result = run_lapic(*arguments, "--json", manifest)
    remover.join()
    assert result.exit_code == 1
    assert "lapic: s3://photos/0/broken.png: not a picture that Pillow can read" in result.stderr.splitlines()
    assert f"{COUNT} done, 1 failed" in result.stderr
    rows = json.loads(manifest.read_text())
    assert len({row["source"] for row in rows}) == len(rows) == COUNT + 1
    made = store.find("small/out")
    assert len(made) == COUNT
    for name in made:
        assert store.cat_file(name) == store.cat_file(name.replace("/out/", "/plain/"))

    store.rm("photos/0/broken.png")
    before = {name: store.info(name)["LastModified"] for name in made}
    again = run_lapic(*arguments, "--skip-existing")
    assert (again.exit_code, again.stderr) == (0, f"0 done, {COUNT} skipped\n")
    assert {name: store.info(name)["LastModified"] for name in made} == before
    checked = run_lapic("verify", "-r", "s3://small/out", "--cluster", nodes.address)
    assert checked.exit_code == 0
    assert checked.stdout.count("all checksums match") == COUNT


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_is_not_there(address: str, photo: Image.Image, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra cluster")
    photo.crop((0, 0, 64, 64)).save(tmp_path / "a.png")
    result = run_lapic("encode", tmp_path, f"{tmp_path}/out/", "--cluster", address)
    assert result.exit_code == 1
    assert result.stderr == f"lapic: cannot reach the cluster {address}: Connection refused\n"


def test_without_ray(monkeypatch: pytest.MonkeyPatch, photo: Image.Image, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    photo.crop((0, 0, 64, 64)).save(tmp_path / "a.png")
    result = run_lapic("encode", tmp_path, f"{tmp_path}/out/", "--cluster", "auto")
    assert (result.exit_code, result.stderr) == (1, "lapic: ray is missing: pip install 'lapic[cluster]'\n")
    alone = run_lapic("encode", tmp_path / "a.png", tmp_path / "a.lapic", "--cluster", "auto")
    assert alone.exit_code == 2
    with pytest.raises(lapic.Error, match="ray is missing"), cluster.cluster_of("auto"):
        pass
