"""Exact numbers: rational points of a line, dyadic integers of floats, and integer matrices in two makings."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

try:
    from flint import fmpz_mat
except ImportError:  # Python's integers do the same, slower
    FLINT = False
else:
    FLINT = True

__all__ = ["FLINT", "Matrix", "Point", "SparseMatrix", "SparseVector", "Vector", "dense_matrix", "dyadic"]

Vector = Sequence[int]
# The entries that are not zero, by position.
SparseVector = dict[int, int]


class Point:
    """A value of t: the fraction ``numerator / denominator`` in lowest terms, or ±infinity with denominator 0.

    Points are ordered exactly. The float nearest to a point decides between most of them: division of integers is
    rounded correctly and so keeps the order, and only points with the same float are multiplied out.

    Attributes:
        numerator, denominator: without a common factor; the denominator is not negative.
        near: the nearest float.
    """

    __slots__ = ("denominator", "near", "numerator")

    def __init__(self, numerator: int, denominator: int) -> None:
        divisor = math.gcd(numerator, denominator)
        if denominator < 0:
            divisor = -divisor
        self.numerator, self.denominator = numerator // divisor, denominator // divisor
        try:
            self.near = self.numerator / self.denominator
        except (OverflowError, ZeroDivisionError):  # beyond every float, or infinite
            self.near = math.inf if self.numerator > 0 else -math.inf

    @classmethod
    def of(cls, t: Fraction | float) -> Point:
        """The point at a number, ±inf among them."""
        if isinstance(t, float) and math.isinf(t):
            return cls(1 if t > 0 else -1, 0)
        return cls(*t.as_integer_ratio())

    @property
    def is_finite(self) -> bool:
        """Whether the point is a number."""
        return self.denominator != 0

    @property
    def t(self) -> Fraction | float:
        """The number: a Fraction, or ±inf."""
        return Fraction(self.numerator, self.denominator) if self.denominator else self.near

    @property
    def order(self) -> tuple[float, Point]:
        """A key for sorting: the float first, as it is compared faster."""
        return self.near, self

    def __lt__(self, other: Point) -> bool:
        if self.denominator == 0 and other.denominator == 0:
            return self.numerator < other.numerator
        return self.numerator * other.denominator < other.numerator * self.denominator

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Point):
            return NotImplemented
        return self.numerator == other.numerator and self.denominator == other.denominator

    def __hash__(self) -> int:
        return hash((self.numerator, self.denominator))

    def __repr__(self) -> str:
        return f"Point({self.t})"


def dyadic(numbers: NDArray[np.float64]) -> tuple[list[int], int]:
    """Integers and the least exponent ``e >= 0`` with ``numbers == integers / 2**e``, exactly.

    Raises:
        ValueError: a number is not finite.
    """
    flat = np.ascontiguousarray(numbers, dtype=np.float64).reshape(-1)
    if not np.isfinite(flat).all():
        raise ValueError("NaN and infinity are no rational numbers.")
    mantissa, exponent = np.frexp(flat)
    odd = np.ldexp(mantissa, 53).astype(np.int64)
    is_zero = odd == 0
    trailing = np.frexp((odd & -odd).astype(np.float64))[1] - 1
    odd >>= np.where(is_zero, 0, trailing)
    exponent = np.where(is_zero, 0, exponent.astype(np.int64) - 53 + trailing)
    lowest = min(0, int(exponent.min(initial=0)))
    shift = exponent - lowest
    bits = np.frexp(np.abs(odd).astype(np.float64))[1] + shift
    if bits.max(initial=0) < 63:
        integers: list[int] = (odd << shift).tolist()
    else:
        integers = [number << by for number, by in zip(odd.tolist(), shift.tolist())]
    return integers, -lowest


class Matrix(Protocol):
    """An integer matrix, however it is kept."""

    def times(self, vectors: Sequence[SparseVector]) -> list[SparseVector]:
        """The product with each vector."""


# A column of the product costs FLINT about as much as Python takes for this share of the vector's entries.
_SPARSE_SHARE = 1 / 16


class _FlintMatrix:
    """A dense matrix of FLINT integers; vectors with few entries are multiplied by Python's."""

    def __init__(self, rows: int, columns: int, entries: list[int]) -> None:
        self.matrix, self.columns, self.entries = fmpz_mat(rows, columns, entries), columns, entries

    def times(self, vectors: Sequence[SparseVector]) -> list[SparseVector]:
        """The product with each vector."""
        full = [index for index, vector in enumerate(vectors) if len(vector) > _SPARSE_SHARE * self.columns]
        products = dict(zip(full, self._products([vectors[index] for index in full])))
        return [
            products[index] if index in products else self._sparse_product(vector)
            for index, vector in enumerate(vectors)
        ]

    def _products(self, vectors: list[SparseVector]) -> list[SparseVector]:
        if not vectors:
            return []
        count = len(vectors)
        entries = [0] * (self.columns * count)
        for place, vector in enumerate(vectors):
            for column, number in vector.items():
                entries[column * count + place] = number
        product = list(map(int, (self.matrix * fmpz_mat(self.columns, count, entries)).entries()))
        return [_sparse(enumerate(product[place::count])) for place in range(count)]

    def _sparse_product(self, vector: SparseVector) -> SparseVector:
        product: list[int] | None = None
        for column, number in vector.items():
            scaled = [entry * number for entry in self.entries[column :: self.columns]]
            product = scaled if product is None else list(map(operator.add, product, scaled))
        return _sparse(enumerate(product or ()))


class _PythonMatrix:
    """A dense matrix of Python integers."""

    def __init__(self, rows: int, columns: int, entries: list[int]) -> None:
        self.matrix: NDArray[Any] = np.array(entries, dtype=object).reshape(rows, columns)

    def times(self, vectors: Sequence[SparseVector]) -> list[SparseVector]:
        """The product with each vector."""
        return [self._product(vector) for vector in vectors]

    def _product(self, vector: SparseVector) -> SparseVector:
        if not vector:
            return {}
        numbers = np.array(list(vector.values()), dtype=object)
        product: list[int] = (self.matrix[:, list(vector)] @ numbers).tolist()
        return _sparse(enumerate(product))


def dense_matrix(rows: int, columns: int, entries: list[int]) -> Matrix:
    """A matrix from its entries, row by row; with python-flint where it is installed."""
    return _FlintMatrix(rows, columns, entries) if FLINT else _PythonMatrix(rows, columns, entries)


# Vectors are multiplied as one where an entry of the matrix is used so often for each number, and where at least this
# share of the numbers that they then have in common is not zero; so many at most, as longer integers gain no more.
_FAN_OUT = 8
_COMMON_SHARE = 0.4
_TOGETHER = 16


class SparseMatrix:
    """A matrix kept column by column.

    Python takes longer for a product and a sum of integers than the processor for their digits. So several vectors
    are packed into one, whose numbers hold one of each vector side by side, as the digits of a large base; the product
    with that vector holds the products side by side.

    Args:
        starts: column j has the entries from ``starts[j]`` to ``starts[j + 1]``.
        rows: of each entry.
        entries: the numbers.
    """

    def __init__(self, starts: list[int], rows: list[int], entries: list[int]) -> None:
        self.starts, self.rows, self.entries = starts, rows, entries
        self.bits = max((entry.bit_length() for entry in entries), default=0)
        # A scale, a batch norm, a choice: each number goes to one place, and no other number goes there.
        self.moves = starts == [*range(len(starts))] and len({*rows}) == len(rows)

    def times(self, vectors: Sequence[SparseVector]) -> list[SparseVector]:
        """The product with each vector."""
        if len(self.entries) < _FAN_OUT * len(self.starts):
            return [self._product(vector) for vector in vectors]
        products: list[SparseVector] = [{} for _ in vectors]
        for group in _alike(vectors):
            for k, product in zip(group, self._products([vectors[k] for k in group])):
                products[k] = product
        return products

    def _products(self, vectors: list[SparseVector]) -> list[SparseVector]:
        if len(vectors) == 1:
            return [self._product(vectors[0])]
        places = set().union(*vectors)
        # A number of the product is a sum of len(places) products at most: below 2**bits, and it has a sign.
        longest = max(number.bit_length() for vector in vectors for number in vector.values())
        bits = self.bits + longest + len(places).bit_length()
        size = bits // 8 + 1
        return _unpacked(self._product(_packed(vectors, places, size)), len(vectors), size)

    def _product(self, vector: SparseVector) -> SparseVector:
        rows, entries, starts = self.rows, self.entries, self.starts
        if self.moves:
            return {rows[column]: entries[column] * number for column, number in vector.items()}
        product: SparseVector = {}
        for column, number in vector.items():
            start, stop = starts[column], starts[column + 1]
            for row, entry in zip(rows[start:stop], entries[start:stop]):
                product[row] = product.get(row, 0) + entry * number
        return _sparse(product.items())


def _alike(vectors: Sequence[SparseVector]) -> Iterator[list[int]]:
    """Which vectors go together: those that begin near each other, as long as they have most places in common."""
    group: list[int] = []
    places: set[int] = set()
    count = 0
    for k in sorted((k for k, vector in enumerate(vectors) if vector), key=lambda k: min(vectors[k])):
        size, common = len(vectors[k]), places.union(vectors[k])
        if group and (len(group) == _TOGETHER or count + size < _COMMON_SHARE * (len(group) + 1) * len(common)):
            yield group
            group, common, count = [], {*vectors[k]}, 0
        group, places, count = [*group, k], common, count + size
    if group:
        yield group


def _packed(vectors: list[SparseVector], places: Iterable[int], size: int) -> SparseVector:
    """One vector with the numbers of all: at each place the sum of number k times ``256**(size * k)``."""
    packed = {}
    for place in places:
        together = 0
        for vector in reversed(vectors):
            together = (together << 8 * size) + vector.get(place, 0)
        packed[place] = together
    return packed


def _unpacked(packed: SparseVector, count: int, size: int) -> list[SparseVector]:
    """The vectors that were packed; each of their numbers is at least ``-half`` and below half, of ``256**size``."""
    half = 1 << (8 * size - 1)
    halves = sum(half << (8 * size * k) for k in range(count))
    vectors: list[SparseVector] = [{} for _ in range(count)]
    for place, together in packed.items():
        # With half of the base added to each, none is negative, and they are the digits of the sum.
        digits = (together + halves).to_bytes(count * size, "little")
        for k, vector in enumerate(vectors):
            number = int.from_bytes(digits[k * size : (k + 1) * size], "little") - half
            if number:
                vector[place] = number
    return vectors


def _sparse(entries: Iterable[tuple[int, int]]) -> SparseVector:
    return {position: number for position, number in entries if number}
