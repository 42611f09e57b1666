"""Training on two machines, here two launchers on this one, from shards of pictures."""

import io
import os
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapic.training.data import Crops
from tests.conftest import EXAMPLES

pytest.importorskip("webdataset", reason="needs the extra training")


@pytest.fixture
def shards(photo: Image.Image, tmp_path: Path) -> Path:
    """Three shards with two photos and captions each; photo n is of one shade, 10 n + 10."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        with tarfile.open(folder / f"{number}.tar", "w") as shard:
            for inside in (2 * number, 2 * number + 1):
                out = io.BytesIO()
                Image.new("RGB", (96, 80), (10 * inside + 10,) * 3).save(out, "png")
                for name, data in ((f"{inside:04}.png", out.getvalue()), (f"{inside:04}.txt", b"a caption")):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    shard.addfile(entry, io.BytesIO(data))
    return folder


def shades(crops: Crops) -> set[int]:
    return {int(picture[0, 0, 0]) for picture in crops.pictures}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_processes_share_the_pictures_of_shards(shards: Path, count: int) -> None:
    parts = [shades(Crops(shards, 64, part=(rank, count))) for rank in range(count)]
    assert set.union(*parts) == {10, 20, 30, 40, 50, 60}
    assert sum(map(len, parts)) == 6


def test_memory_is_bounded(shards: Path) -> None:
    assert len(Crops(shards, 64, max_gib=2.5 * 96 * 80 * 3 / 2**30).pictures) == 2
    assert Crops(shards, 64).batch(0, 4).dtype == np.uint8


def test_two_machines_train_one_model(photo: Image.Image, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(2):
        with tarfile.open(data / f"{number}.tar", "w") as shard:
            shard.add(EXAMPLES / "chelsea.png", f"{number}.png")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    plan = {"data": data, "out": tmp_path / "run", "steps": 3, "batch": 1, "patch": 64, "log-every": 1,
            "accelerator": "cpu", "devices": 1, "nodes": 2}  # fmt: skip
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
              "--master-addr", "127.0.0.1", "--master-port", str(port)]  # fmt: skip
    options = [word for name, value in plan.items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(EXAMPLES.parent)}
    machines = [
        subprocess.Popen(
            [*launch, "--node-rank", str(rank), "-m", "lapic.training.cli", "codec", *options],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        said = [machine.communicate(timeout=200)[0] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 3
    assert len((tmp_path / "run" / "train.csv").read_text().splitlines()) == 4
    assert all("step 3" in text for text in said)
