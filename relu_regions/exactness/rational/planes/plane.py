"""What an exact walk found in one plane: faces, vertices, edges and cells as fractions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import networkx as nx
from torch import Tensor

from relu_regions.exactness.rational.arithmetic import Point
from relu_regions.exactness.rational.planes.polygons import Corner, Form, Polygon, Position, total_area
from relu_regions.exactness.rational.planes.sheet import Pattern
from relu_regions.exactness.rational.planes.tiling import Tiling
from relu_regions.exactness.rational.stretch import Flip
from relu_regions.lines.decision import Decision

__all__ = ["RationalBoundary", "RationalCell", "RationalEdge", "RationalFace", "RationalPlane"]


class _Part:
    """What faces and cells have of their polygon."""

    polygon: Polygon

    @property
    def corners(self) -> tuple[Position, ...]:
        """The corners (s, t), counter-clockwise."""
        return self.polygon.positions

    @property
    def area(self) -> Fraction:
        """In units of s t."""
        return self.polygon.area

    @property
    def inside(self) -> Position:
        """A point strictly inside."""
        return _position(self.polygon.inside)


@dataclass(frozen=True, repr=False)
class RationalFace(_Part):
    """A maximal part of a plane's polygon, with positive area, on which every unit keeps its piece.

    Attributes:
        number: its place among the plane's faces.
        polygon: the part, in integers.
        pattern: for each gate, the piece of every unit.
        logits: over ``2**exponent``, each as (constant, slope by s, slope by t).
        exponent: of the binary denominator.
    """

    number: int
    polygon: Polygon
    pattern: Pattern
    logits: tuple[Form, ...]
    exponent: int

    @property
    def intercept(self) -> tuple[Fraction, ...]:
        """Of the logits, flattened: on the face they are ``intercept + slope_s s + slope_t t``."""
        return self._part(0)

    @property
    def slope_s(self) -> tuple[Fraction, ...]:
        """How fast each logit grows with s."""
        return self._part(1)

    @property
    def slope_t(self) -> tuple[Fraction, ...]:
        """How fast each logit grows with t."""
        return self._part(2)

    def outputs_at(self, s: Fraction | float, t: Fraction | float) -> tuple[Fraction, ...]:
        """The face's affine logits at any finite (s, t)."""
        exact_s, exact_t, scale = Fraction(s), Fraction(t), 1 << self.exponent
        return tuple((a + b * exact_s + c * exact_t) / scale for a, b, c in self.logits)

    def _part(self, place: int) -> tuple[Fraction, ...]:
        return tuple(Fraction(form[place], 1 << self.exponent) for form in self.logits)

    def __repr__(self) -> str:
        return f"RationalFace({self.number}, {len(self.corners)} corners, area {_short(self.area)})"


@dataclass(frozen=True)
class RationalEdge:
    """A side of one face or of two.

    Attributes:
        vertices: numbers of its ends; the first face is to the left from one to the other.
        faces: numbers of the faces beside it; the second is None on the border of the plane's polygon.
        flips: the units that change their piece from the first face to the second; none on the border.
    """

    vertices: tuple[int, int]
    faces: tuple[int, int | None]
    flips: tuple[Flip, ...]


@dataclass(frozen=True, repr=False)
class RationalCell(_Part):
    """The part of a face on which one class wins; of classes that tie on all of it the first.

    Attributes:
        face: number of the face.
        label: the class.
        polygon: the part, in integers.
    """

    face: int
    label: int
    polygon: Polygon

    def __repr__(self) -> str:
        return f"RationalCell(face {self.face}, class {self.label}, area {_short(self.area)})"


@dataclass(frozen=True)
class RationalBoundary:
    """A segment between two cells of different classes.

    Attributes:
        ends: its two ends (s, t).
        labels: the class to the left from one end to the other, and that to the right.
    """

    ends: tuple[Position, Position]
    labels: tuple[int, int]


@dataclass(frozen=True, repr=False)
class RationalPlane:
    """The network in one plane ``x + s u + t v``, exactly, for (s, t) in a convex polygon.

    Attributes:
        x, u, v: the plane, each ``input_shape``, float64.
        polygon: of (s, t), in integers.
        faces: the parts of the polygon on which every unit keeps its piece.
        output_shape: of the network.
    """

    x: Tensor
    u: Tensor
    v: Tensor
    polygon: Polygon
    faces: tuple[RationalFace, ...]
    output_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that the faces tile the polygon edge to edge.

        Raises:
            ArithmeticError: they do not, which would be an error of this library.
        """
        self._tiling.check()

    @cached_property
    def vertices(self) -> list[Position]:
        """Every corner of a face (s, t), once."""
        return [_position(corner) for corner in self._tiling.vertices]

    @cached_property
    def face_vertices(self) -> list[tuple[int, ...]]:
        """For each face the numbers of its corners, counter-clockwise."""
        return self._tiling.corners

    @cached_property
    def areas(self) -> list[Fraction]:
        """Of every face, in units of s t."""
        return [face.area for face in self.faces]

    @cached_property
    def outputs(self) -> list[tuple[Fraction, ...]]:
        """The logits at every vertex."""
        face_at = {number: face for face, corners in zip(self.faces, self.face_vertices) for number in corners}
        return [face_at[number].outputs_at(*position) for number, position in enumerate(self.vertices)]

    @cached_property
    def edges(self) -> list[RationalEdge]:
        """The sides of the faces, each once."""
        return [self._edge(ends, sides) for ends, sides in self._tiling.sides.items()]

    @cached_property
    def cells(self) -> list[RationalCell]:
        """The parts of the faces on which one class wins, face by face.

        Raises:
            ValueError: the network's output is no vector of logits.
        """
        decision = Decision.of(self.output_shape)
        return [cell for face in self.faces for cell in _cells(face, decision)]

    @cached_property
    def cell_vertices(self) -> list[Position]:
        """Every corner of a cell (s, t), once.

        Raises:
            ValueError: the network's output is no vector of logits.
        """
        return [_position(corner) for corner in self._cell_tiling.vertices]

    @property
    def cell_corners(self) -> list[tuple[int, ...]]:
        """For each cell the numbers of its corners in ``cell_vertices``, counter-clockwise.

        Raises:
            ValueError: the network's output is no vector of logits.
        """
        return self._cell_tiling.corners

    @cached_property
    def boundaries(self) -> list[RationalBoundary]:
        """The segments between cells of two classes.

        Raises:
            ValueError: the network's output is no vector of logits.
        """
        positions = self.cell_vertices
        labels = [cell.label for cell in self.cells]
        return [
            RationalBoundary((positions[start], positions[end]), (labels[beside[0]], labels[beside[1]]))
            for (start, end), beside in self._cell_tiling.sides.items()
            if len(beside) == 2 and labels[beside[0]] != labels[beside[1]]
        ]

    def class_areas(self) -> list[Fraction]:
        """For each class the area on which it wins, in units of s t.

        Raises:
            ValueError: the network's output is no vector of logits.
        """
        parts: list[list[Polygon]] = [[] for _ in range(Decision.of(self.output_shape).count)]
        for cell in self.cells:
            parts[cell.label].append(cell.polygon)
        return [total_area(polygons) for polygons in parts]

    def components(self) -> list[list[Fraction]]:
        """For each class the areas of the connected pieces on which it wins, in units of s t, the largest first.

        Cells that share an edge are connected; those that only meet at a point are not.

        Raises:
            ValueError: the network's output is no vector of logits.
        """
        graph = nx.empty_graph(len(self.cells))
        labels = [cell.label for cell in self.cells]
        pairs = (beside for beside in self._cell_tiling.sides.values() if len(beside) == 2)
        graph.add_edges_from((one, other) for one, other in pairs if labels[one] == labels[other])
        pieces: list[list[Fraction]] = [[] for _ in range(Decision.of(self.output_shape).count)]
        for piece in nx.connected_components(graph):
            pieces[labels[min(piece)]].append(total_area(self.cells[cell].polygon for cell in piece))
        return [sorted(areas, reverse=True) for areas in pieces]

    @cached_property
    def _tiling(self) -> Tiling:
        return Tiling([face.polygon for face in self.faces], self.polygon)

    @cached_property
    def _cell_tiling(self) -> Tiling:
        tiling = Tiling([cell.polygon for cell in self.cells], self.polygon)
        tiling.check()
        return tiling

    def _edge(self, ends: tuple[int, int], sides: Sequence[int]) -> RationalEdge:
        if len(sides) == 1:
            return RationalEdge(ends, (sides[0], None), ())
        first, second = sides
        return RationalEdge(ends, (first, second), tuple(_flips(self.faces[first].pattern, self.faces[second].pattern)))

    def __len__(self) -> int:
        """How many faces."""
        return len(self.faces)

    def __repr__(self) -> str:
        return f"RationalPlane({len(self)} faces, area {_short(self.polygon.area)})"


def _short(area: Fraction) -> str:
    return f"{Point.of(area).near:.6g}"


def _position(corner: Corner) -> Position:
    w, p, q = corner
    return Fraction(p, w), Fraction(q, w)


def _cells(face: RationalFace, decision: Decision) -> Iterator[RationalCell]:
    logits = decision.competing(face.logits, (0, 0, 0))
    labels = list(logits)
    for place, part in face.polygon.envelope(list(logits.values())):
        yield RationalCell(face.number, labels[place], part)


def _flips(before: Pattern, after: Pattern) -> Iterator[Flip]:
    for gate, (old, new) in enumerate(zip(before, after)):
        if old != new:
            yield from (Flip(gate, unit, *pair) for unit, pair in enumerate(zip(old, new)) if pair[0] != pair[1])
