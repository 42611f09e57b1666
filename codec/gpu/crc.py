"""The checksum of a tile's symbols, CRC-32, on a GPU, so that they need not come to the host for it.

A CRC is linear over GF(2). With a register that begins at 0, that of a text is the exclusive sum of those of its
chunks, each times x^(8 n) modulo the CRC's polynomial, n bytes following the chunk. The host's side is
`bitstream.symbols_crc`. The multiplication is that of zlib's crc32_combine.
"""

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from lapic.codec.gpu.graph import cached_on_device

POLYNOMIAL = tl.constexpr(0xEDB88320)  # bits reversed, x^0 is the highest one
ONES = 0xFFFFFFFF
LENGTH = 256  # numbers of a chunk
CHUNKS = 128  # of a program


@triton.jit
def _crc_of_chunks(
    numbers, count, factors, table, sum_, BYTES: tl.constexpr, LENGTH: tl.constexpr, CHUNKS: tl.constexpr
):  # fmt: skip
    """Add to `sum_` what the chunks of this program contribute. Chunks end where the `count` numbers end: before the
    first one come zeros, which change nothing."""
    chunk = tl.program_id(0) * CHUNKS + tl.arange(0, CHUNKS)
    at = count - (chunk + 1) * LENGTH
    register = tl.zeros([CHUNKS], tl.uint32)
    for _ in range(LENGTH):
        number = tl.load(numbers + at, mask=at >= 0, other=0).to(tl.int32)
        for byte in tl.static_range(BYTES):
            low = (register ^ (number >> (8 * byte)).to(tl.uint32, bitcast=True)) & 255
            register = tl.load(table + low).to(tl.uint32, bitcast=True) ^ (register >> 8)
        at += 1
    factor = tl.load(factors + chunk).to(tl.uint32, bitcast=True)
    product = tl.zeros([CHUNKS], tl.uint32)
    for bit in range(32):
        product = tl.where(((register << bit) >> 31) == 1, product ^ factor, product)
        factor = tl.where(factor % 2 == 1, (factor >> 1) ^ POLYNOMIAL, factor >> 1)
    tl.atomic_xor(sum_, tl.xor_sum(product.to(tl.int32, bitcast=True), axis=0))


def _times_x(a: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Polynomials times x, modulo the CRC's."""
    return np.where(a & np.uint64(1), a >> np.uint64(1) ^ np.uint64(POLYNOMIAL.value), a >> np.uint64(1))


def times(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Products of polynomials modulo the CRC's, bits reversed."""
    product = np.zeros(np.broadcast(a, b).shape, np.uint64)
    for bit in range(31, -1, -1):
        product = np.where(a >> np.uint64(bit) & np.uint64(1), product ^ b, product)
        b = _times_x(b)
    return product


def powers(exponents: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """x^(8 n) modulo the CRC's polynomial for each n."""
    result = np.full(exponents.shape, 1 << 31, np.uint64)
    square = np.array(1 << 23, np.uint64)  # x^8
    for bit in range(int(exponents.max(initial=0)).bit_length()):
        result = np.where(exponents >> np.uint64(bit) & np.uint64(1), times(result, square), result)
        square = times(square, square)
    return result


def _signed(values: NDArray[np.uint64]) -> Tensor:
    return torch.from_numpy(values.astype(np.uint32).view(np.int32))


@cached_on_device(maxsize=8)
def _constants(places: int, latents: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For so many numbers of the hyper-latent, and so many latents: the CRC's table, the factors of the chunks of both,
    and what the ones add that a register begins with, and ends with."""
    table = np.arange(256, dtype=np.uint64)
    for _ in range(8):
        table = _times_x(table)
    factors = [
        powers(after + np.arange(-(-count // (LENGTH * CHUNKS)) * CHUNKS, dtype=np.uint64) * np.uint64(size * LENGTH))
        for count, size, after in ((places, 1, np.uint64(2 * latents)), (latents, 2, np.uint64(0)))
    ]
    ones = times(np.array([ONES], np.uint64), powers(np.array([places + 2 * latents], np.uint64))) ^ np.uint64(ONES)
    return tuple(_signed(array).to(device) for array in (table, *factors, ones))


def symbols_crc(z: Tensor, symbols: Tensor) -> Tensor:
    """As `bitstream.symbols_crc` of whole numbers of any type, as (1,) int32 on their device, its bits those of the
    CRC.

    Args:
        z: (Z, h4, w4). symbols: (M, h, w).
    """
    table, *factors, ones = _constants(z.numel(), symbols.numel(), z.device)
    total = ones.clone()
    for numbers, of_chunks, size in ((z, factors[0], 1), (symbols, factors[1], 2)):
        _crc_of_chunks[(len(of_chunks) // CHUNKS,)](
            numbers.contiguous(), numbers.numel(), of_chunks, table, total, BYTES=size, LENGTH=LENGTH, CHUNKS=CHUNKS
        )
    return total
