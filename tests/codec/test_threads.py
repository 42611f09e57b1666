import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lapic.codec import threads
from lapic.codec.host import isolation


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def computing(running: int, own: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of four cores on which so many threads run, of which some are this process' own."""
    load = folder / "loadavg"
    load.write_text(f"0.20 0.18 0.12 {running}/91 4711\n")
    for number in range(own + 1):
        task = folder / "task" / str(number)
        task.mkdir(parents=True)
        (task / "stat").write_text(f"{number} (a name) R) {'R' if number < own else 'S'} 1 1")
    monkeypatch.setattr(threads, "LOAD", load)
    monkeypatch.setattr(threads, "TASKS", folder / "task")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


@pytest.mark.parametrize(
    ("running", "own", "expected"), [(1, 1, 4), (2, 1, 3), (4, 1, 1), (9, 1, 1), (4, 4, 4), (6, 4, 2)]
)
def test_a_call_takes_as_many_threads_as_cores_are_free(
    running: int, own: int, expected: int, four_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing(running, own, tmp_path, monkeypatch)
    with isolation():
        assert torch.get_num_threads() == expected
        with isolation():
            assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 4


def test_the_number_is_fitted_again_within_a_call(
    four_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing(1, 1, tmp_path, monkeypatch)
    with isolation():
        threads.LOAD.write_text("0.20 0.18 0.12 3/91 4711")
        threads.fit_threads()
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 4
    threads.fit_threads()
    assert torch.get_num_threads() == 4


def test_calls_at_once_share_the_cores(four_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computing(1, 1, tmp_path, monkeypatch)
    with isolation():
        found: list[int] = []

        def work() -> None:
            with isolation():
                found.append(torch.get_num_threads())
            found.append(torch.get_num_threads())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == [2, 4]


def test_threads_of_the_host_are_left_as_they_are(
    four_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing(9, 1, tmp_path, monkeypatch)
    with isolation():
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert torch.get_num_threads() == 1
    assert found == [4]


def test_a_system_that_does_not_tell_counts_as_idle(
    four_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "LOAD", tmp_path / "none")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    with isolation():
        assert torch.get_num_threads() == 4
