"""The peak of memory is that of the block, not of what came before or is left after it."""

import numpy as np

from lapic.codec.evaluation.peak import PeakMemory

MIB = 2**20


def test_a_block_that_is_freed_at_once_is_seen() -> None:
    with PeakMemory() as memory:
        for _ in range(3):
            np.ones(100 * MIB, np.uint8).sum()
    assert 95 * MIB < memory.peak - memory.before < 150 * MIB


def test_what_was_freed_before_is_not_counted() -> None:
    np.ones(300 * MIB, np.uint8).sum()
    with PeakMemory() as memory:
        pass
    assert memory.peak - memory.before < 20 * MIB
