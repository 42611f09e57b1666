import os
import time
from pathlib import Path

import pytest

from codec.evaluation.run import Cache, pictures_in, run


def double(number: int) -> dict:
    return {"value": 2 * number}


def misbehave(how: str) -> dict:
    if how == "raise":
        raise ValueError("broken\nin two lines")
    if how == "die":
        os._exit(3)
    time.sleep(60)
    return {}


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
    assert found[3]["error"] == "ValueError: broken"


def test_an_interruption_ends_the_workers() -> None:
    def interrupt(number: int, point: dict) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run([(double, 1), *[(misbehave, "wait")] * 3], 2, interrupt)
    assert time.monotonic() - began < 30


def test_the_cache_survives_a_line_cut_short(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "points.jsonl")
    cache.add("a", {"psnr": 30.0})
    cache.add("b", {"psnr": 31.0})
    text = cache.path.read_text()
    cache.path.write_text(text[:-5])
    again = Cache(cache.path)
    assert again.points == {"a": {"psnr": 30.0}}
    again.add("c", {"psnr": 32.0})
    assert Cache(cache.path).points == {"a": {"psnr": 30.0}, "c": {"psnr": 32.0}}


def test_folders_give_their_pictures(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in pictures_in((tmp_path, tmp_path / "b.png"))] == ["a.JPG", "b.png", "b.png"]
