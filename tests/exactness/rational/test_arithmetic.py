"""Products with sparse integer matrices: one vector at a time, and many side by side in one."""

from __future__ import annotations

from random import Random

import pytest

from relu_regions.exactness.rational import arithmetic
from relu_regions.exactness.rational.arithmetic import SparseMatrix, SparseVector


def expected(columns: list[list[tuple[int, int]]], vector: SparseVector) -> SparseVector:
    """The product, row by row."""
    rows = {row for column in columns for row, _ in column}
    sums = {
        row: sum(entry * vector.get(j, 0) for j, column in enumerate(columns) for r, entry in column if r == row)
        for row in rows
    }
    return {row: number for row, number in sums.items() if number}


def matrix_of(columns: list[list[tuple[int, int]]]) -> SparseMatrix:
    starts = [sum(map(len, columns[:j])) for j in range(len(columns) + 1)]
    pairs = [pair for column in columns for pair in column]
    return SparseMatrix(starts, [row for row, _ in pairs], [entry for _, entry in pairs])


def packed_counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many vectors are taken from each packed one from now on."""
    counts: list[int] = []
    unpacked = arithmetic._unpacked

    def counted(packed: SparseVector, count: int, size: int) -> list[SparseVector]:
        counts.append(count)
        return unpacked(packed, count, size)

    monkeypatch.setattr(arithmetic, "_unpacked", counted)
    return counts


@pytest.mark.parametrize("seed", range(20))
def test_products_of_many_vectors_are_those_of_each(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, rng = packed_counts(monkeypatch), Random(seed)
    width = rng.choice([1, 3, 12])
    columns = [
        [(row, rng.choice([-1, 1]) * (rng.getrandbits(rng.choice([1, 55])) | 1)) for row in rng.sample(range(30), 16)]
        for _ in range(width)
    ]

    def number() -> int:
        return rng.choice([-1, 1]) * (rng.getrandbits(rng.choice([1, 8, 60, 700])) | 1)

    vectors = [
        {j: number() for j in range(width) if rng.random() < share} for share in (0, 1, 0.3, 0.9) for _ in range(9)
    ]
    rng.shuffle(vectors)
    assert matrix_of(columns).times(vectors) == [expected(columns, vector) for vector in vectors]
    assert counts
    assert max(counts) > 2


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 64])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 127, 128])
def test_the_largest_sums_have_room(bits: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a row's numbers as large as they can be, beside vectors of the other sign."""
    counts, largest = packed_counts(monkeypatch), (1 << bits) - 1
    columns = [[(row, largest if row % 2 else -largest) for row in range(20)] for _ in range(length)]
    vectors = [dict.fromkeys(range(length), sign * largest) for sign in (1, -1, -1, 1, 1)]
    assert matrix_of(columns).times(vectors) == [expected(columns, vector) for vector in vectors]
    assert counts == [5]


def test_sums_of_zero_are_left_out() -> None:
    columns = [[(row, 3) for row in range(20)], [(row, -3 if row else 5) for row in range(20)]]
    vectors: list[SparseVector] = [{0: 4, 1: 4}, {}, {0: -(1 << 90), 1: -(1 << 90)}]
    assert matrix_of(columns).times(vectors) == [{0: 32}, {}, {0: -(1 << 93)}]


def test_a_choice_moves_numbers() -> None:
    matrix = matrix_of([[(2, 5)], [(0, -7)]])
    assert matrix.moves
    assert matrix.times([{1: 3}, {0: 1, 1: 1}, {}]) == [{0: -21}, {2: 5, 0: -7}, {}]
    for columns in ([[(0, 5)], [(0, -5)]], [[(0, 1), (1, 1)], []]):
        assert not matrix_of(columns).moves
        assert matrix_of(columns).times([{0: 1, 1: 1}]) == [expected(columns, {0: 1, 1: 1})]
