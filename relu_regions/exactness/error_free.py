"""Error-free transformations of tensors: sums and products as two floats each, without any rounding."""

from __future__ import annotations

from torch import Tensor

__all__ = ["halves", "two_product", "two_sum"]


def two_sum(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Sums and what rounding lost of them, exactly (Knuth, The Art of Computer Programming 2, section 4.2.2)."""
    total = one + other
    part = total - one
    return total, (one - (total - part)) + (other - part)


def halves(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Two floats of at most 26 bits each whose sum is the number (Veltkamp's splitting)."""
    scaled = numbers * 134217729.0  # 2^27 + 1
    high = scaled - (scaled - numbers)
    return high, numbers - high


def two_product(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Products and what rounding lost of them, exactly unless it underflows (Dekker)."""
    product = one * other
    (a, b), (c, e) = halves(one), halves(other)
    return product, b * e - (((product - a * c) - b * c) - a * e)
