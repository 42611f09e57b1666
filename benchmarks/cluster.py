"""A Ray cluster on this machine: nothing is lost with a node, what it costs over a plain batch, and how it scales.

    python benchmarks/cluster.py [--files 200] [--nodes 3]      # lose a node in the middle, from and to an S3 server
    python benchmarks/cluster.py --overhead [--actors 2]        # seconds a file, plain batch and cluster of one node
    python benchmarks/cluster.py --scale 1,2,4,8 [--out scale.json]    # megapixels/s, and what a billion photos take
    python benchmarks/cluster.py --table scale.json             # the same from what was measured

Rates are those after the first quarter of the files, when every process has its model. Needs the extras remote and
cluster, and moto[server].
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lapic.codec.command import batch
from lapic.codec.command.cluster import cluster_of
from lapic.codec.command.convert import encode_file
from lapic.codec.command.jobs import EncodeJob
from lapic.codec.command.workers import cores

MEMORY = 80 * 2**20  # bytes of a node's object store
PHOTOS, MEGAPIXELS = 1_000_000_000, 12.0  # of the calculation, and of each photo in it
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


def photo(size: int, number: int) -> bytes:
    """A PNG of smooth noise, another one for each number."""
    small = np.random.default_rng(number).integers(0, 256, (size // 8 + 1, size // 8 + 1, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC).save(out, "png")
    return out.getvalue()


@contextmanager
def s3_server() -> Iterator[Any]:
    """fsspec's file system of an S3 server on this machine that has the buckets photos and small."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ.update(CREDENTIALS | {"AWS_ENDPOINT_URL_S3": f"http://{host}:{port}"})
    store = fsspec.filesystem("s3", use_listings_cache=False)
    for bucket in ("photos", "small"):
        store.mkdir(bucket)
    try:
        yield store
    finally:
        server.stop()


@contextmanager
def nodes_of(cpus: list[int]) -> Iterator[Any]:
    """A cluster of nodes with these numbers of cores."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    options = {"object_store_memory": MEMORY}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus[0], "include_dashboard": False} | options)
    try:
        for count in cpus[1:]:
            made.add_node(num_cpus=count, **options)
        yield made
    finally:
        made.shutdown()


def lapic(*arguments: str) -> subprocess.CompletedProcess:
    """Run the command."""
    return subprocess.run([sys.executable, "-m", "lapic", *arguments], capture_output=True, text=True)


def lose_a_node(files: int, size: int, nodes: int, effort: int) -> None:
    """From bucket to bucket while a node is lost: every file is there, whole, once; then there is nothing to do."""
    with s3_server() as store, nodes_of([1] * nodes) as cluster:
        for number in range(files):
            store.pipe_file(f"photos/{number % 7}/{number:05}.png", photo(size, number))
        common = ["encode", "-e", str(effort), "-r", "s3://photos"]
        assert lapic(*common, "s3://small/plain").returncode == 0

        def lose() -> None:
            while len(store.find("small/out")) < files // 3:
                time.sleep(0.05)
            cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
            print(f"a node is lost after {len(store.find('small/out'))} files")

        loser = threading.Thread(target=lose, daemon=True)
        loser.start()
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder) / "rows.jsonl"
            arguments = [*common, "s3://small/out", "--cluster", cluster.address, "--manifest", str(manifest)]
            done = lapic(*arguments)
            assert done.returncode == 0, done.stderr
            loser.join()
            rows = [json.loads(line) for line in manifest.read_text().splitlines()]
            made = store.find("small/out")
            assert len({row["source"] for row in rows}) == len(rows) == len(made) == files
            assert all(row["status"] == "done" for row in rows)
            same = sum(store.cat_file(name) == store.cat_file(name.replace("/out/", "/plain/")) for name in made)
            print(f"{len(made)} files, {same} with the bytes of a plain run")
            assert same == files
            before = [store.info(name)["LastModified"] for name in made]
            again = lapic(*arguments, "--skip-existing")
            assert again.returncode == 0, again.stderr
            assert before == [store.info(name)["LastModified"] for name in made]
            print(f"again with --skip-existing: {again.stderr.splitlines()[-1]}")


def rate(folder: Path, out: Path, effort: int, jobs: int, address: str | None) -> dict[str, float]:
    """Seconds until the first file is done, and seconds a file after the first quarter of them."""
    todo = batch.plan([str(folder)], str(out), {".png"}, ".lapic", False)
    times, report = [time.monotonic()], batch.Report()
    with cluster_of(address) if address else nullcontext() as machines:
        batch.process(
            todo.pairs, encode_file, lambda pair: EncodeJob(pair.source, pair.target, effort=effort, force=True), jobs,
            False, lambda row: times.append(time.monotonic()), report, machines,
        )  # fmt: skip
    assert not report.of("failed"), report.of("failed")[0]
    first, quarter, last = times[1], len(times) // 4, len(times) - 1
    return {"start_s": first - times[0], "file_s": (times[last] - times[quarter]) / (last - quarter)}


@contextmanager
def local_photos(files: int, size: int) -> Iterator[tuple[Path, Path]]:
    """A folder with photos, and one for outputs."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in"
        source.mkdir()
        for number in range(files):
            (source / f"{number:05}.png").write_bytes(photo(size, number))
        yield source, Path(folder) / "out"


def overhead(files: int, size: int, effort: int, actors: int) -> None:
    """Print seconds a file of a plain batch and of a cluster of one node, with as many processes."""
    with local_photos(files, size) as (source, out), nodes_of([actors]) as cluster:
        found = {"plain": rate(source, out, effort, actors, None)}
        found["cluster"] = rate(source, out, effort, 1, cluster.address)
    for name, one in found.items():
        print(f"{name:8} {one['file_s']:.4f} s a file, the first after {one['start_s']:.1f} s")
    print(f"overhead {100 * (found['cluster']['file_s'] / found['plain']['file_s'] - 1):+.1f} % a file")


def scale(files: int, size: int, effort: int, actors: list[int], out: Path | None) -> None:
    """Measure megapixels a second by the number of actors, and print what follows."""
    curve = {}
    with local_photos(files, size) as (source, target):
        for count in actors:
            with nodes_of([count]) as cluster:
                found = rate(source, target, effort, 1, cluster.address)
            curve[str(count)] = {"mp_per_s": size * size / 1e6 / found["file_s"], "start_s": found["start_s"]}
            print(f"{count} actors: {curve[str(count)]['mp_per_s']:.3g} megapixels/s", file=sys.stderr)
    results = {"cores": cores(), "files": files, "size": size, "effort": effort, "actors": curve}
    if out:
        out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


def table(results: dict[str, Any]) -> str:
    """The measured curve, and what a billion photos take at the best rate a core, as Markdown."""
    rows = ["| actors | megapixels/s | first file after, s |", "|---|---|---|"]
    for count, one in results["actors"].items():
        rows.append(f"| {count} | {one['mp_per_s']:.3g} | {one['start_s']:.1f} |")
    of_core = max(one["mp_per_s"] / min(int(count), results["cores"]) for count, one in results["actors"].items())
    hours = PHOTOS * MEGAPIXELS / of_core / 3600
    return "\n".join(
        [
            *rows,
            "",
            f"At {of_core:.3g} megapixels/s a core, {PHOTOS:,} photos of {MEGAPIXELS:g} megapixels take "
            f"{hours:,.0f} core hours: {hours / 64:,.0f} hours of machines with 64 cores, "
            f"{hours / 64 / 1000 / 24:.1f} days of a thousand of them.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--size", type=int, help="edge of the photos in pixels; 64, or 512 with --overhead and --scale")
    parser.add_argument("--effort", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--scale", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    if given.table:
        print(table(json.loads(given.table.read_text())))
    elif given.scale:
        scale(given.files, given.size or 512, given.effort, given.scale, given.out)
    elif given.overhead and given.actors < 2:
        parser.error("--overhead needs 2 --actors or more: with one a plain batch has no worker")
    elif given.overhead:
        overhead(given.files, given.size or 512, given.effort, given.actors)
    else:
        lose_a_node(given.files, given.size or 64, given.nodes, given.effort)


if __name__ == "__main__":
    main()
