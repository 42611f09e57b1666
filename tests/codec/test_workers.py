import errno
import os
import signal
import time

import pytest

from lapic.codec.command.workers import SPAWN, run, worker_pool


def double(number: int) -> dict:
    return {"value": 2 * number}


def process(_: int) -> dict:
    return {"process": os.getpid()}


def threads(_: int) -> dict:
    import torch

    return {"threads": torch.get_num_threads()}


def misbehave(how: str) -> dict:
    if how == "raise":
        raise KeyError("broken\nin two lines")
    if how == "panic":
        raise BaseException("a library in Rust")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "die":
        os._exit(3)
    if how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
    return {}


class Interrupted(SPAWN.Process):
    """A process that Ctrl-C reaches while it starts."""

    def start(self) -> None:
        super().start()
        os.kill(self.pid, signal.SIGINT)


def test_an_interruption_while_a_worker_starts_is_left_to_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background shells hand it down ignored
    monkeypatch.setattr(SPAWN, "Process", Interrupted)
    found = {}
    try:
        run([(double, 1)], 1, found.__setitem__)
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == {0: {"value": 2}}


class Refused(SPAWN.Process):
    """Processes of which the system refuses the first two."""

    refused = 0

    def start(self) -> None:
        Refused.refused += 1
        if Refused.refused <= 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        super().start()


def test_a_process_that_cannot_be_started_costs_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SPAWN, "Process", Refused)
    found = {}
    run([(double, n) for n in range(4)], 1, found.__setitem__)
    error = {"error": "its process cannot be started: Too many open files"}
    assert found == {0: error, 1: error, 2: {"value": 4}, 3: {"value": 6}}


def test_results_come_with_their_numbers() -> None:
    found = {}
    run([(double, n) for n in range(7)], 2, found.__setitem__)
    assert found == {n: {"value": 2 * n} for n in range(7)}


def test_a_call_that_raises_or_dies_costs_itself_only() -> None:
    calls = [(double, 1), (misbehave, "die"), (double, 2), (misbehave, "raise"), (double, 3)]
    found = {}
    run(calls, 1, found.__setitem__)
    assert [found[n].get("value") for n in range(5)] == [2, None, 4, None, 6]
    assert "died" in found[1]["error"]
    assert found[3]["error"].startswith("KeyError: 'broken\\nin two lines' (unexpected: please report it")


def test_whatever_ends_a_call_is_named() -> None:
    found = {}
    run([(misbehave, "panic"), (misbehave, "kill"), (double, 4)], 1, found.__setitem__)
    assert found[0]["error"].startswith("BaseException: a library in Rust")
    assert found[1]["error"] == "the process that ran it died (killed, perhaps for want of memory)"
    assert found[2] == {"value": 8}


def test_a_pool_stays_for_the_next_calls_and_ends_with_its_context() -> None:
    first, second = {}, {}
    with worker_pool(2) as processes:
        run([(process, n) for n in range(6)], processes, first.__setitem__)
        run([(process, n) for n in range(6)], processes, second.__setitem__)
    numbers = [{found["process"] for found in of.values()} for of in (first, second)]
    assert numbers[1] <= numbers[0]
    assert os.getpid() not in numbers[0]
    for number in numbers[0]:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


@pytest.mark.parametrize(("allowed", "workers", "expected"), [("", 2, 1), ("", 1, 2), ("1", 1, 1), ("7,2", 1, 2)])
def test_processes_share_the_cores(allowed: str, workers: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lapic.codec.command.workers.cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    found: dict[int, dict] = {}
    run([(threads, n) for n in range(workers)], workers, found.__setitem__)
    assert [found[n] for n in range(workers)] == [{"threads": expected}] * workers
    assert os.environ["OMP_NUM_THREADS"] == allowed


@pytest.mark.parametrize("how", ["wait", "deaf"])
def test_an_interruption_ends_the_workers(how: str) -> None:
    def interrupt(number: int, point: dict) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run([(double, 1), *[(misbehave, how)] * 3], 2, interrupt)
    assert time.monotonic() - began < 30
