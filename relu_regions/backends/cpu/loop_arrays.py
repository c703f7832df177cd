"""The arrays that loops read and fill, in groups that go through one parameter; numba takes a NamedTuple as it is.

A loop reads a group's fields once, so that grouping costs a few microseconds for each call and nothing for each number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from relu_regions.backends.ties import Ties
from relu_regions.network.arrays import Numbers
from relu_regions.network.gates import Maximum

__all__ = [
    "Bounds",
    "Gate",
    "Lines",
    "Outputs",
    "Pieces",
    "Placed",
    "Products",
    "Room",
    "Stack",
    "Tied",
    "Windows",
    "bits_of",
]


def bits_of(numbers: Numbers) -> Numbers:
    """Floats as integers of the same width."""
    return numbers.view(np.int64 if numbers.itemsize == 8 else np.int32)


class Room(NamedTuple):
    """Room for crossings and the new points that they are made for, as crossing_loops.py fills them in.

    Attributes:
        integers: row, unit, knot, and row of the new point of each crossing, ``(4, room)``.
        reals: t, the weights of both ends of its interval, and its rise, ``(4, room)``.
        inside: whether it has a new point, ``(1, room)``.
        spots, shares: of each new point the interval, ``(1, room)``, and the weights of its ends, ``(2, room)``.
    """

    integers: Numbers
    reals: Numbers
    inside: Numbers
    spots: Numbers
    shares: Numbers

    @classmethod
    def of(cls, places: int, dtype: np.dtype[Any]) -> Room:
        """Room for so many crossings."""
        return cls(
            np.empty((4, places), np.int64), np.empty((4, places), dtype), np.empty((1, places), np.bool_),
            np.empty((1, places), np.int64), np.empty((2, places), dtype),
        )  # fmt: skip


class Windows(NamedTuple):
    """The windows of a maximum gate.

    Attributes:
        windows: the inputs of every unit, ``(units, k)`` int64.
        places: the same, ``(k, units)``; unsigned, so that no loop asks whether they count from the end.
        short: the units whose windows are filled up by repeating their first input, ``(R,)`` int64.
    """

    windows: Numbers
    places: Numbers
    short: Numbers

    @classmethod
    def of(cls, gate: Maximum) -> Windows:
        """Those of a gate."""
        return cls(gate.windows.numpy(), gate.by_position.numpy().view(np.uint32), gate.filled_up.numpy())


class Tied(NamedTuple):
    """Which inputs of a maximum are equal by construction, as ties.TieTables and ties.Ties have it.

    Attributes:
        alike, column, whole, begun, partly: the tables.
        table, between: which of them holds at each row, and on the interval that starts there.
    """

    alike: Numbers
    column: Numbers
    whole: Numbers
    begun: Numbers
    partly: Numbers
    table: Numbers
    between: Numbers

    @classmethod
    def of(cls, ties: Ties | None, rows: int, units: int) -> Tied:
        """Those of some rows; None for none."""
        if ties is None:
            none = np.zeros(rows, np.int64)
            whole = np.zeros((1, units), np.bool_)
            return cls(np.zeros((1, 0), np.int64), none[:0], whole, np.zeros(2, np.int64), none[:0], none, none)
        tables = ties.tables
        parts = (tables.alike, tables.column, tables.whole, tables.begun, tables.partly, ties.table, ties.between)
        return cls(*(part.numpy() for part in parts))

    def only(self, rows: slice) -> Tied:
        """Those of some of the rows."""
        return self._replace(table=self.table[rows], between=self.between[rows])


class Placed(NamedTuple):
    """A placement's new points and crossings, as loops.multiply reads them; see placement.Placement.

    Attributes:
        added, old_rows, first_new: of the points there were.
        right: of the new points.
        row, unit, left, crossing_row: of the crossings.
        kink: by how much the slope of the gate's output changes at each crossing, with the interval as the unit of
            length.
    """

    added: Numbers
    old_rows: Numbers
    first_new: Numbers
    right: Numbers
    row: Numbers
    unit: Numbers
    left: Numbers
    crossing_row: Numbers
    kink: Numbers


class Stack(NamedTuple):
    """The points of some segments, one segment after another.

    Attributes:
        offsets: the points of segment i are those from ``offsets[i]`` to ``offsets[i + 1]``.
        position, weight: of the points; weight empty unless ``weighted``, then all are 1.
    """

    offsets: Numbers
    position: Numbers
    weight: Numbers
    weighted: bool


class Products(NamedTuple):
    """A product at the points before the gate that it is of, and the bends from which it goes on at new points.

    Attributes:
        values: at the points there were, but for the bias, ``(P, units)``.
        bias, columns: of the matrix, ``(units,)`` and ``(inputs, units)``.
        offsets, added: of the points there were, and how many new ones each interval gets.
        row, unit, left, crossing_row, kink, total: the bends, and how many; as Placed.
        right: the weight of the right end of each new point's interval.
        slope: room for a row's slope, ``(units,)``.
    """

    values: Numbers
    bias: Numbers
    columns: Numbers
    offsets: Numbers
    added: Numbers
    row: Numbers
    unit: Numbers
    left: Numbers
    crossing_row: Numbers
    kink: Numbers
    total: int
    right: Numbers
    slope: Numbers


class Gate(NamedTuple):
    """A gate with knots.

    Attributes:
        knots, slopes, offsets: of each unit, as LinkNumbers.
        level: what taking the distance from a knot adds to the error: so many times the sum of the row's largest number
            and the largest knot; 0 where all knots are 0.
    """

    knots: Numbers
    slopes: Numbers
    offsets: Numbers
    is_relu: bool
    level: tuple[float, float]


class Bounds(NamedTuple):
    """What nearness says of each row, if ``bounded``, and the segments in doubt, filled in."""

    bounded: bool
    near: Numbers
    uncertain: Numbers


class Pieces(NamedTuple):
    """A gate's pieces at the ends of segments, ``(segments, units)``, filled in if ``recorded``."""

    recorded: bool
    first: Numbers
    last: Numbers


class Lines(NamedTuple):
    """Room for two neighbouring rows.

    Attributes:
        values: distances from each knot, and last the row itself, ``(kinds, 2, units)``; one kind where these are the
            same.
        extremes: these rows' largest and smallest numbers, ``(2, 1 + kinds)``.
        bits, extreme_bits: the same numbers as integers.
    """

    values: Numbers
    bits: Numbers
    extremes: Numbers
    extreme_bits: Numbers

    @classmethod
    def of(cls, kinds: int, units: int, dtype: np.dtype[Any]) -> Lines:
        """Room for rows of so many units."""
        values, extremes = np.zeros((kinds, 2, units), dtype), np.zeros((2, 1 + kinds), dtype)
        return cls(values, bits_of(values), extremes, bits_of(extremes))


class Outputs(NamedTuple):
    """What a gate's output goes into, and what the gate's loop says of all points.

    Attributes:
        matrix, product: the one that reads the output, if it is narrow, and their product at all points, filled in and
            kept in place of that output; else nothing, ``(0, units)``.
        applied: the gate's output, ``(P, units)``; room for four rows of it if the matrix is narrow.
        size, added: the largest number of the gate's input, and how many new points each interval gets, ``(P,)``.
    """

    matrix: Numbers
    product: Numbers
    applied: Numbers
    size: Numbers
    added: Numbers
