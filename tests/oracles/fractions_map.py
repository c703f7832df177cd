"""The affine map of a network whose gates are held to given pieces, in plain fractions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tests.oracles.fractions_walk import Layers

__all__ = ["exact_map"]

Matrix = list[list[Fraction]]


def exact_map(layers: Layers, inputs: int, pattern: Sequence[Sequence[int]]) -> Matrix:
    """Rows of (W | b), found by following the rows of every value through the layers.

    Args:
        layers: as for the walk in fractions.
        inputs: the size of the input.
        pattern: for each gate, at least up to the last of the layers, the piece of every unit.
    """
    identity = [[Fraction(int(i == j)) for j in range(inputs + 1)] for i in range(inputs)]
    values, gates = [identity], iter(pattern)
    for kind, *description in layers:
        rows = values[-1]
        if kind == "affine":
            weight, bias = description
            made = [
                [sum(Fraction(a) * row[j] for a, row in zip(line, rows)) for j in range(inputs + 1)] for line in weight
            ]
            for row, shift in zip(made, bias or [0] * len(made)):
                row[-1] += Fraction(shift)
        elif kind in ("maximum", "order"):
            made = [rows[window[piece]] for window, piece in zip(description[0], next(gates))]
        elif kind == "knots":
            made = []
            for unit, piece in enumerate(next(gates)):
                slope, offset = (n[unit][piece] if isinstance(n[0], list) else n[piece] for n in description[1:])
                made.append([Fraction(slope) * a for a in rows[unit]])
                made[-1][-1] += Fraction(offset)
        elif kind == "add":
            made = [[sum(parts) for parts in zip(*some)] for some in zip(*(values[k] for k in description[0]))]
        else:
            made = [row for k in description[0] for row in values[k]]
        values.append(made)
    return values[-1]
