"""What several processes of a run do together, and what one does when another fails."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image

from lapic.training.loop import Options, Recipe, Trainer
from tests.conftest import EXAMPLES

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(EXAMPLES.parent)}


def run(*command: object) -> subprocess.CompletedProcess:
    words = [sys.executable, *map(str, command)]
    return subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=200)


def test_processes_fail_together_and_take_tensors_from_the_first(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(
        "import torch\n"
        "from lightning_fabric import Fabric\n"
        "from lapic.training.processes import end_group, fails_together, take_from_first\n\n"
        "fabric = Fabric(accelerator='cpu', devices=2)\n"
        "fabric.launch()\n"
        "rank = fabric.global_rank\n"
        "tensor = torch.tensor([5 + rank])\n"
        "take_from_first(fabric, [tensor])\n"
        "said = [str(tensor.item()), str(fails_together(fabric, lambda: 10 * rank))]\n"
        "def make():\n"
        "    if rank:\n"
        "        raise ValueError('no pictures')\n"
        "try:\n"
        "    fails_together(fabric, make)\n"
        "except Exception as error:\n"
        "    said.append(f'{type(error).__name__} {error}')\n"
        "print('said ' + ', '.join(said) + '\\n', end='', flush=True)\n"
        "end_group(fabric)\n"
    )
    found = run(script)
    assert found.returncode == 0, found.stderr
    assert sorted(line for line in found.stdout.splitlines() if line.startswith("said")) == [
        "said 5, 0, Error process 2 of 2 failed: no pictures",
        "said 5, 10, ValueError no pictures",
    ]


@pytest.mark.parametrize(
    ("edges", "reasons"),
    [
        ([96], ["has 1 pictures: 2 processes need as many or more"] * 2),
        ([96, 32], ["in {folder} is as large as 64 x 64"] * 2),
    ],
)
def test_fewer_pictures_than_processes_is_one_line_of_each(
    edges: list[int], reasons: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for number, edge in enumerate(edges):
        Image.new("RGB", (edge, edge)).save(folder / f"{number}.png")
    plan = {"data": folder, "out": tmp_path / "run", "patch": 64, "accelerator": "cpu", "devices": 2}
    words = [word for name, value in plan.items() for word in (f"--{name}", str(value))]
    found = run("-m", "lapic.training.cli", "codec", *words)
    assert found.returncode != 0
    lines = [line for line in found.stderr.splitlines() if line.startswith("Error")]
    assert lines, found.stderr  # of one process, if the first to end takes the other along
    told = [reason.format(folder=folder) for reason in reasons]
    assert all(any(reason in line for reason in told) for line in lines)
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "run").exists()


def test_no_gradient_is_shared_by_processes_that_learn_on_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor that which the generator's loss leaves in the discriminator."""
    models: dict[str, torch.nn.Module] = {name: torch.nn.Linear(1, 1) for name in ("model", "discriminator")}
    kept: list[str] = []
    during: list[list[str]] = []

    def loss(models: Any, batch: Any, shared: Any) -> Any:
        during.append(sorted(kept))
        return models["discriminator"](models["model"](batch[0])).sum(), {}

    recipe = Recipe(
        models=models,
        optimisers={
            name: [torch.optim.SGD([{"params": list(model.parameters()), "lr_scale": 1.0}])]
            for name, model in models.items()
        },
        losses=dict.fromkeys(models, loss),
        batch=lambda step: (torch.ones(1, 1),),
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    trainer = Trainer(Options(tmp_path), fabric, recipe)

    @contextmanager
    def unshared(module: torch.nn.Module) -> Any:
        [name] = [name for name, model in trainer.models.items() if model is module]
        kept.append(name)
        yield
        kept.remove(name)

    monkeypatch.setattr(fabric, "no_backward_sync", unshared)
    trainer.take_step((torch.ones(1, 1),))
    trainer.has_local_gradients = True
    trainer.take_step((torch.ones(1, 1),))
    assert during == [[], [], *[["discriminator", "model"]] * 2]
