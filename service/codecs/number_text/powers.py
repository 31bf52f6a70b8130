"""Powers of ten as 128-bit numbers, for the compiled reader and writer."""

from typing import Final

MIN_POWER: Final = -348
MAX_POWER: Final = 347
BITS: Final = 128


def powers_of_ten() -> bytes:
    """Return 10^k for each k, scaled by a power of two to 128 bits and rounded up.

    Each is two 64-bit numbers in the byte order of this host, the high one first.
    """
    return b"".join(map(_power, range(MIN_POWER, MAX_POWER + 1)))


def _power(exponent: int) -> bytes:
    above, below = (10**exponent, 1) if exponent >= 0 else (1, 10**-exponent)
    # So that `scaled` has BITS bits, or one more.
    shift = BITS - above.bit_length() + below.bit_length()
    scaled = _divide_up(above, below, shift)
    if scaled.bit_length() > BITS:
        scaled = _divide_up(above, below, shift - 1)
    high, low = divmod(scaled, 2**64)
    return high.to_bytes(8, "little") + low.to_bytes(8, "little")


def _divide_up(above: int, below: int, shift: int) -> int:
    scaled = above << shift if shift >= 0 else above
    divisor = below if shift >= 0 else below << -shift
    return -(-scaled // divisor)
