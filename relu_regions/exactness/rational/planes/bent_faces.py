"""What a gate makes of one face: the parts on which every unit keeps its piece, and the gate's output there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from relu_regions.exactness.rational.arithmetic import SparseVector
from relu_regions.exactness.rational.coefficients import ExactMaximum, Piecewise
from relu_regions.exactness.rational.planes.polygons import Form, Polygon, primitive

__all__ = ["BentFace", "bend_at_knots", "bend_maximum"]


class BentFace(NamedTuple):
    """A part of a face behind a gate.

    Attributes:
        polygon: the part.
        pieces: of every unit.
        output: constants, slopes by s and slopes by t of all units.
    """

    polygon: Polygon
    pieces: tuple[int, ...]
    output: tuple[SparseVector, SparseVector, SparseVector]


def bend_at_knots(tables: Sequence[Piecewise], units: Sequence[Form], polygon: Polygon) -> list[BentFace]:
    """Cut a face where units pass their knots.

    Args:
        tables: the function of each unit, or one for all.
        units: the gate's inputs on the face.
        polygon: the face.
    """
    if len(tables) == 1:
        tables = [tables[0]] * len(units)
    # A line is the same with either sign, and units may share it.
    lines = {
        max(primitive(form), primitive((-form[0], -form[1], -form[2])))
        for (a, b, c), table in zip(units, tables)
        for form in ((a - knot, b, c) for knot in table.knots)
        if polygon.is_crossed_by(form)
    }
    return [_behind_knots(tables, units, part) for part in polygon.cut_by(sorted(lines))]


def _behind_knots(tables: Sequence[Piecewise], units: Sequence[Form], polygon: Polygon) -> BentFace:
    w, p, q = polygon.inside
    pieces = []
    output: tuple[SparseVector, SparseVector, SparseVector] = ({}, {}, {})
    for unit, ((a, b, c), table) in enumerate(zip(units, tables)):
        # On a knot inside is on it throughout, and then the piece is the one below.
        height = a * w + b * p + c * q
        piece = sum([height > knot * w for knot in table.knots])
        pieces.append(piece)
        slope, offset = table.slopes[piece], table.offsets[piece]
        if slope or offset:
            _put(output, unit, (slope * a + offset, slope * b, slope * c))
    return BentFace(polygon, tuple(pieces), output)


def bend_maximum(gate: ExactMaximum, inputs: Sequence[Form], polygon: Polygon) -> list[BentFace]:
    """Cut a face where the lead in a unit's window changes.

    Args:
        inputs: of the gate, on the face.
        polygon: the face.
    """
    parts = [polygon]
    for window in gate.windows:
        forms = [inputs[place] for _, place in window]
        parts = [part for whole in parts for _, part in whole.envelope(forms)]
    return [_behind_maximum(gate, inputs, part) for part in parts]


def _behind_maximum(gate: ExactMaximum, inputs: Sequence[Form], polygon: Polygon) -> BentFace:
    w, p, q = polygon.inside
    heights = [a * w + b * p + c * q for a, b, c in inputs]
    pieces = []
    output: tuple[SparseVector, SparseVector, SparseVector] = ({}, {}, {})
    for unit, window in enumerate(gate.windows):
        # Those that are as large inside are so throughout, and of these the first counts.
        position, winner = max(window, key=lambda candidate: heights[candidate[1]])
        pieces.append(position)
        _put(output, unit, inputs[winner])
    return BentFace(polygon, tuple(pieces), output)


def _put(output: tuple[SparseVector, SparseVector, SparseVector], unit: int, form: Form) -> None:
    for vector, number in zip(output, form):
        if number:
            vector[unit] = number
