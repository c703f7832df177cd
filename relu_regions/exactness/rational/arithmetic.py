"""Exact numbers: rational points of a line, dyadic integers of floats, and integer matrices in two makings."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
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


class SparseMatrix:
    """A matrix kept column by column.

    Args:
        starts: column j has the entries from ``starts[j]`` to ``starts[j + 1]``.
        rows: of each entry.
        entries: the numbers.
    """

    def __init__(self, starts: list[int], rows: list[int], entries: list[int]) -> None:
        self.starts, self.rows, self.entries = starts, rows, entries

    def times(self, vectors: Sequence[SparseVector]) -> list[SparseVector]:
        """The product with each vector."""
        return [self._product(vector) for vector in vectors]

    def _product(self, vector: SparseVector) -> SparseVector:
        product: SparseVector = {}
        for column, number in vector.items():
            start, stop = self.starts[column], self.starts[column + 1]
            for row, entry in zip(self.rows[start:stop], self.entries[start:stop]):
                product[row] = product.get(row, 0) + entry * number
        return _sparse(product.items())


def _sparse(entries: Iterable[tuple[int, int]]) -> SparseVector:
    return {position: number for position, number in entries if number}
