from pathlib import Path

from lapic.codec.evaluation.cache import Cache


def test_the_cache_survives_a_line_cut_short(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "points.jsonl")
    cache.add("a", {"psnr": 30.0})
    cache.add("b", {"psnr": 31.0})
    text = cache.path.read_text()
    cache.path.write_text(text[:-5])
    again = Cache(cache.path)
    assert again.points == {"a": {"psnr": 30.0}}
    with cache.path.open("ab") as file:
        file.write(b'\n7\n[]\n{"key": ["a"], "point": {}}\n\xff\0')  # no points, whatever they are
    again.add("c", {"psnr": 32.0})
    assert Cache(cache.path).points == {"a": {"psnr": 30.0}, "c": {"psnr": 32.0}}
