import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapic.bitstream import (
    Error,
    Tables,
    TileDecoder,
    decode_values,
    encode_tile,
    encode_values,
    read_payload,
    symbols_crc,
    write_payload,
)
from lapic.bitstream.entropy import entropy_bits
from tests.reference import Ans, encode_ans


def random_counts(rng: np.random.Generator, size: int, concentration: float = 0.3) -> np.ndarray:
    counts = np.floor(rng.dirichlet(np.full(size, concentration)) * (2**24 - size)).astype(np.int64) + 1
    counts[counts.argmax()] += 2**24 - counts.sum()
    return counts.astype(np.int32)


def random_tables(seed: int, channels: int = 3) -> Tables:
    rng = np.random.default_rng(seed)
    tables = Tables(
        np.stack([random_counts(rng, 127) for _ in range(2 * channels)]).reshape(2, channels, 127),
        [random_counts(rng, 2 * int(width) + 2) for width in rng.integers(1, 30, 64)],
    )
    tables.check()
    return tables


@pytest.mark.parametrize(
    ("hyper", "latent", "message"),
    [
        ([2**24 - 2, 1, 1], [2**24 - 1, 0, 0, 1], "below 1"),
        ([2**24 - 1, 0, 1], [2**24 - 3, 1, 1, 1], "below 1"),
        ([2**24 - 2, 1, 1], [2**24 - 4, 1, 1, 1], "does not sum"),
        ([2**24 - 1, 1, 1], [2**24 - 3, 1, 1, 1], "does not sum"),
        ([2**24 - 1, 1], [2**24 - 3, 1, 1, 1], "wrong length"),
        ([2**24 - 2, 1, 1], [2**24 - 2, 1, 1], "wrong length"),
    ],
)
def test_tables_that_are_none(hyper: list[int], latent: list[int], message: str) -> None:
    good = np.array([2**24 - 3, 1, 1, 1], np.int32)
    Tables(np.array([[[2**24 - 2, 1, 1]]], np.int32), [good]).check()
    with pytest.raises(ValueError, match=message):
        Tables(np.array([[hyper]], np.int32), [good, np.array(latent, np.int32)]).check()


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shapes=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4),
    spread=st.sampled_from([0, 1, 20, 32767]),
    indices=st.sampled_from([1, 5, 64]),
    lanes=st.sampled_from([1, 2, 7, 300]),
)
def test_round_trip(seed: int, shapes: list[tuple[int, int, int]], spread: int, indices: int, lanes: int) -> None:
    rng, tables = np.random.default_rng(seed), random_tables(seed % 7)
    passes = []
    for shape in shapes:
        index = rng.integers(0, indices, shape).astype(np.uint8)
        passes.append((rng.integers(-spread, spread + 1, shape).astype(np.int16), index))
    z = rng.integers(-63, 64, (3, 2, 3)).astype(np.int8)
    level = seed % 2
    decoder = TileDecoder(tables, level, read_payload(encode_tile(tables, level, z, passes, lanes)))
    assert np.array_equal(decoder.hyper(2, 3), z)
    found = [decoder.latent(index) for _, index in passes]
    assert all(np.array_equal(a, symbols) for a, (symbols, _) in zip(found, passes, strict=True))
    every = np.concatenate([symbols.ravel() for symbols in found])
    decoder.finish(every, symbols_crc(z, every))
    with pytest.raises(Error, match="checksum"):
        decoder.finish(every, symbols_crc(z, every) ^ 1)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0, 1, 20, 32767]), cut=st.integers(1, 8))
def test_values_round_trip_and_damage_shows(seed: int, spread: int, cut: int) -> None:
    rng, tables = np.random.default_rng(seed), random_tables(seed % 7)
    index = rng.integers(0, 64, (3, 20)).astype(np.uint8)
    values = rng.integers(-spread, spread + 1, index.shape).astype(np.int16)
    payload = encode_values(tables, values, index)
    assert np.array_equal(decode_values(tables, index, payload), values)
    with pytest.raises(Error):
        decode_values(tables, index, payload + bytes(cut))


def test_the_outermost_values_round_trip() -> None:
    tables, index = random_tables(6), np.array([0, 63, 1, 9], np.uint8)
    for values in (np.array([-32767, 32767, 0, -1], np.int16), np.array([-32767, 32767, 0, -1], np.int64)):
        assert np.array_equal(decode_values(tables, index, encode_values(tables, values, index)), values)


@pytest.mark.parametrize(
    ("error", "values", "index"),
    [
        (ValueError, np.array([-32768, 0], np.int16), np.array([0, 9], np.uint8)),
        (ValueError, np.array([0, 32768], np.int32), np.array([9, 9], np.uint8)),
        (ValueError, np.array([0, 1], np.int16), np.array([64, 9], np.uint8)),
        (ValueError, np.array([0, 1], np.int16), np.array([0, -1], np.int8)),
        (ValueError, np.array([0, 1], np.int16), np.array([0, 1, 2], np.uint8)),
        (TypeError, np.array([0, 0.5]), np.array([0, 9], np.uint8)),
        (TypeError, np.array([0, 1], np.int16), np.array([0, 9.5])),
    ],
)
def test_what_cannot_be_coded_is_refused(error: type, values: np.ndarray, index: np.ndarray) -> None:
    tables = random_tables(6)
    z = np.zeros((3, 1, 1), np.int8)
    for encode in (encode_values, lambda *arrays: encode_tile(tables, 0, z, [arrays[1:]])):
        with pytest.raises(error) as raised:
            encode(tables, values, index)
        assert type(raised.value) is error
        assert "\n" not in str(raised.value)


def test_tiles_that_cannot_be_coded_are_refused() -> None:
    tables, z = random_tables(6), np.zeros((3, 1, 1), np.int8)
    passes = [(np.zeros(4, np.int16), np.zeros(4, np.uint8))]
    for level, latent, lanes in [(2, z, 1), (-1, z, 1), (0, z, 0), (0, z, 65537), (0, z[:2], 1), (0, z - 64, 1)]:
        with pytest.raises(ValueError, match=r"range|outside"):
            encode_tile(tables, level, latent, passes, lanes)


def test_indices_without_tables_are_refused() -> None:
    tables = random_tables(6)
    for index in (np.array([64], np.uint8), np.array([-1], np.int8)):
        with pytest.raises(ValueError, match="scale indices"):
            decode_values(tables, index, b"\0")


def test_the_size_is_the_entropy() -> None:
    rng, tables = np.random.default_rng(1), random_tables(1)
    index = rng.integers(0, 64, (64, 30, 30)).astype(np.uint8)
    symbols = rng.integers(-20, 21, index.shape).astype(np.int16)
    z = rng.integers(-63, 64, (3, 8, 8)).astype(np.int8)
    bits = entropy_bits(tables, 1, z, symbols, index)
    size = 8 * len(encode_tile(tables, 1, z, [(symbols, index)]))
    assert bits <= size <= bits * 1.001 + 8 * 12


def test_the_quiet_group_is_left_out_only_when_it_is_quiet() -> None:
    tables, z = random_tables(2), np.zeros((3, 1, 1), np.int8)
    index, symbols = np.zeros((4, 5, 5), np.uint8), np.zeros((4, 5, 5), np.int16)
    quiet = encode_tile(tables, 0, z, [(symbols, index)])
    assert quiet[0] == 0
    symbols[2, 3, 4] = 1
    loud = encode_tile(tables, 0, z, [(symbols, index)])
    assert loud[0] & 1
    decoder = TileDecoder(tables, 0, read_payload(loud))
    decoder.hyper(1, 1)
    assert np.array_equal(decoder.latent(index), symbols)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_damage_raises_only_errors(seed: int) -> None:
    rng, tables = np.random.default_rng(seed), random_tables(3)
    index = rng.integers(0, 64, (4, 6, 6)).astype(np.uint8)
    symbols = rng.integers(-40, 41, index.shape).astype(np.int16)
    z = rng.integers(-63, 64, (3, 2, 2)).astype(np.int8)
    payload = bytearray(encode_tile(tables, 0, z, [(symbols, index)], lanes=1 + seed % 3))
    payload[rng.integers(len(payload))] ^= 1 << rng.integers(8)
    damaged = bytes(payload[: rng.integers(1, len(payload) + 1)] if seed % 2 else payload)
    with pytest.raises(Error):
        decoder = TileDecoder(tables, 0, read_payload(damaged))
        decoder.hyper(2, 2)
        decoder.finish(decoder.latent(index), symbols_crc(z, symbols))


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("spread", [5, 5000])
def test_escapes_that_are_left_over_are_an_error(lanes: int, spread: int) -> None:
    rng, tables = np.random.default_rng(spread), random_tables(4)
    index = rng.integers(0, 64, (3, 8, 8)).astype(np.uint8)
    symbols = rng.integers(-spread, spread + 1, index.shape).astype(np.int16)
    z = rng.integers(-63, 64, (3, 2, 2)).astype(np.int8)
    whole = read_payload(encode_tile(tables, 0, z, [(symbols, index)], lanes))
    assert whole.escapes
    for more in (b"", b"\0", b"\5\6"):
        words = [lane.astype("<u4").tobytes() for lane in whole.lanes]
        decoder = TileDecoder(tables, 0, read_payload(write_payload(whole.first, whole.escapes + more, words)))
        decoder.hyper(2, 2)
        found = decoder.latent(index)
        assert np.array_equal(found, symbols)
        if more:
            with pytest.raises(Error, match="checksum"):
                decoder.finish(found, symbols_crc(z, found))
        else:
            decoder.finish(found, symbols_crc(z, found))


def test_constriction_codes_with_exactly_our_counts() -> None:
    """The reference coder, written from docs/FORMAT.md, reads and writes constriction's words."""
    rng = np.random.default_rng(5)
    tables = random_tables(5, channels=1)
    z = rng.integers(-63, 64, (1, 40, 40)).astype(np.int8)
    payload = encode_tile(tables, 1, z, [(np.zeros((1, 1, 1), np.int16), np.zeros((1, 1, 1), np.uint8))])
    counts = tables.hyper[1, 0]
    assert encode_ans([(int(value) + 63, counts) for value in z.ravel()]) == payload[1:]
    ans = Ans(payload[1:])
    assert [ans.decode(counts) - 63 for _ in range(z.size)] == z.ravel().tolist()
    assert ans.state == 0
    assert not ans.words
