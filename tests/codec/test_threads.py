import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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


def test_work_in_threads_comes_back_in_order_each_with_one_thread(
    four_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many workers as the call may have, also where no core is free."""
    computing(9, 1, tmp_path, monkeypatch)
    together, told = threading.Barrier(4, timeout=60), []

    def work(item: int) -> tuple[int, int]:
        if item < 4:
            together.wait()
        return 10 * item, torch.get_num_threads()

    with isolation():
        assert torch.get_num_threads() == 1
        assert threads.in_threads(work, range(9), done=told.append) == [(10 * item, 1) for item in range(9)]
    assert told == list(range(1, 10))
    with isolation():
        assert threads.in_threads(lambda _: torch.get_num_threads(), [0]) == [1]


def test_exact_work_takes_the_threads_that_are_left(
    four_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing(1, 1, tmp_path, monkeypatch)
    with isolation():
        assert threads.in_threads(lambda _: torch.get_num_threads(), range(2), spread=True) == [2, 2]
        assert threads.in_threads(lambda _: torch.get_num_threads(), range(1), spread=True) == [4]
        assert threads.in_threads(lambda _: torch.get_num_threads(), range(2)) == [1, 1]


def test_work_is_shared_within_operations_while_cores_are_free(
    four_threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, int]] = []

    def work(item: int) -> None:
        seen.append((threading.current_thread() is threading.main_thread(), torch.get_num_threads()))

    computing(1, 1, tmp_path, monkeypatch)
    with isolation():
        threads.in_free_threads(work, range(3))
        assert seen == [(True, 4)] * 3
        threads.LOAD.write_text("0.20 0.18 0.12 9/91 4711")
        threads.fit_threads()
        threads.in_free_threads(work, range(3))
        assert seen[3:] == [(False, 1)] * 3


def test_an_error_stops_the_work_of_others(four_threads: None) -> None:
    stopped: list[int] = []
    running = threading.Barrier(2, timeout=60)

    def work(item: int) -> None:
        running.wait()
        if item == 0:
            raise ValueError("item 0")
        try:
            for _ in range(60_000):
                threads.stop_if_asked()
                time.sleep(0.001)
        except threads.Stopped:
            stopped.append(item)
            raise

    with isolation(), pytest.raises(ValueError, match="item 0"):
        threads.in_threads(work, range(4), most=2)
    assert stopped == [1]
    threads.stop_if_asked()


def test_a_thread_that_cannot_be_set_up_is_an_error(four_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(number: int) -> None:
        raise RuntimeError("can't start new thread")

    with isolation():
        monkeypatch.setattr(threads, "set_threads", fails)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threads.in_threads(str, range(4), most=2)
        monkeypatch.undo()
        assert threads.in_threads(str, range(4), most=2) == ["0", "1", "2", "3"]


def test_a_thread_that_cannot_be_started_stops_the_others(four_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, runs, begun = ThreadPoolExecutor.submit, [], threading.Event()

    def fails_later(pool: ThreadPoolExecutor, run: Callable[[], None]) -> Future:
        if runs:
            begun.wait(60)
            raise RuntimeError("can't start new thread")
        runs.append(submit(pool, run))
        return runs[0]

    def work(item: int) -> None:
        begun.set()
        for _ in range(60_000):
            threads.stop_if_asked()
            time.sleep(0.001)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", fails_later)
    with isolation(), pytest.raises(RuntimeError, match="can't start new thread"):
        threads.in_threads(work, range(4), most=2)
    assert runs[0].done()


def test_where_no_thread_can_be_started_the_work_is_done_in_this_one(
    four_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a thread that goes on after the main thread has ended; with Python 3.12 none can be started at all then."""

    def fails(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    told: list[int] = []
    with isolation():
        for owner, name in ((ThreadPoolExecutor, "submit"), (threading.Thread, "start")):
            monkeypatch.setattr(owner, name, fails)
            found = threads.in_threads(lambda item: (item, threading.current_thread()), range(3), done=told.append)
            assert found == [(item, threading.current_thread()) for item in range(3)]
    monkeypatch.undo()
    assert told == [1, 2, 3] * 2
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("enabled", [False, True])
def test_work_in_threads_has_the_precision_of_the_call(four_threads: None, enabled: bool) -> None:
    layer, x = torch.nn.Conv2d(3, 3, 1), torch.ones(1, 3, 2, 2)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        found = threads.in_threads(lambda number: layer(x).dtype, range(8))
    assert set(found) == {torch.bfloat16 if enabled else torch.float32}


def test_items_are_taken_only_when_there_is_a_thread_for_them(four_threads: None) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10):
            taken.append(item)
            yield item

    with isolation():
        results = threads.in_threads_as_they_come(lambda item: -item, items(), most=3)
        assert next(results) == 0
        assert taken == [0, 1, 2]
        assert list(results) == [-item for item in range(1, 10)]
