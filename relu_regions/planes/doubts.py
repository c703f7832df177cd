"""Faces in doubt, settled where they are: a gate cuts them in exact arithmetic, and their parts go on in floats."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from relu_regions.backends.plane_corners import first_of
from relu_regions.backends.plane_cuts import Cut, Polygons
from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.exactness.rational.planes.polygons import Form, Polygon
from relu_regions.exactness.rational.planes.sheet import on_plane
from relu_regions.exactness.resolving import POINTS_TO_BEGIN, products
from relu_regions.lines.decision import Decision
from relu_regions.lines.plane_batch import PlaneBatch
from relu_regions.network.arrays import Integers, Numbers
from relu_regions.network.gates import Knots, Maximum
from relu_regions.planes.exact_forms import ExactGate, ExactPlane
from relu_regions.planes.exact_parts import Lead, Part, cut_at_knots, cut_by_leads, inside_of
from relu_regions.planes.form_bounds import GATE, FormBounds
from relu_regions.planes.outlines import corner_row
from relu_regions.planes.ties import PlaneTies
from relu_regions.planes.tiles import unpacked

__all__ = ["FACE_PRODUCTS", "Asked", "Budget", "Doubts"]

# What cutting a face and putting it in its place costs besides its forms, in products: about a third of a millisecond.
FACE_PRODUCTS = 30_000
# How many faces are made exact together.
_TOGETHER = 64


class Asked(NamedTuple):
    """Faces that a gate, or the decision behind the last step, has cut, some of which it left in doubt.

    Attributes:
        polygons: the faces.
        plane: of each.
        patterns: for each gate passed the pieces on each face, packed.
        finite: which faces have forms and bounds that are finite.
    """

    polygons: Polygons
    plane: Integers
    patterns: Sequence[Numbers]
    finite: Numbers


@dataclass
class Budget:
    """What rational arithmetic may cost in a call.

    Attributes:
        products: that may be spent on a plane.
        seconds: that are left for all planes.
    """

    products: float = math.inf
    seconds: float = math.inf


@dataclass
class Doubts:
    """Settles faces in doubt, as long as there is time.

    Attributes:
        planes: in float64, on the processor.
        polygons: of the planes.
        bounds, ties: those of the float walk.
        budget: what it may cost; seconds are taken from it.
        spent: products, by plane.
    """

    planes: PlaneBatch
    polygons: Sequence[Polygon]
    bounds: FormBounds
    ties: PlaneTies
    budget: Budget
    spent: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._network = ExactNetwork(self.planes.network)
        self._each = products(self.planes.network)
        self._exact: dict[int, ExactPlane] = {}
        gates = self.planes.network.gates
        # Labels of wider maxima run into those of the next gate.
        self._has_lines = all(
            first_of(0, *step.gate.windows.shape) < GATE for step in gates if isinstance(step.gate, Maximum)
        )

    def settled(self, asked: Asked, cut: Cut, decision: Decision | None = None) -> Cut:
        """A cut without the doubts that can be settled.

        Args:
            decision: what cuts, if no gate does.
        """
        doubtful = np.flatnonzero(cut.doubt & asked.finite & self._has_lines)
        parents, parts, pieces = [cut.parents], [cut.polygons], [cut.pieces]
        for start in range(0, len(doubtful), _TOGETHER):
            block = doubtful[start : start + _TOGETHER]
            for plane in np.unique(asked.plane[block]).tolist():
                faces = block[asked.plane[block] == plane]
                if not self._may(plane, len(faces)):
                    continue
                begun = time.monotonic()
                found = self._cut(plane, faces, asked, decision)
                self.budget.seconds -= time.monotonic() - begun
                self.spent[plane] += len(found) * FACE_PRODUCTS
                cut.doubt[faces] = False
                parents.append(np.array([face for face, _, _ in found], dtype=np.int64))
                parts.append(self._floats(plane, [part for _, part, _ in found]))
                pieces.append(np.array([row for *_, row in found], dtype=cut.pieces.dtype).reshape(len(found), -1))
        if len(parents) == 1:
            return cut
        every = np.concatenate(parents)
        order = np.argsort(every, kind="stable")
        return Cut(every[order], Polygons.together(parts).only(order), np.concatenate(pieces)[order], cut.doubt)

    def _may(self, plane: int, faces: int) -> bool:
        """Whether some faces of a plane may be settled; if so, that counts as spent."""
        spent = self.spent.get(plane, POINTS_TO_BEGIN * self._each) + 3 * faces * self._each
        if self.budget.seconds <= 0 or spent + faces * FACE_PRODUCTS > self.budget.products:
            return False
        self.spent[plane] = spent
        return True

    def _cut(
        self, plane: int, faces: Integers, asked: Asked, decision: Decision | None
    ) -> list[tuple[int, Part, list[int]]]:
        """The parts of some faces of a plane: the face, the part, and its pieces."""
        gates, exact = self.planes.network.gates, self._of_plane(plane)
        patterns = [
            unpacked(kept[faces], step.units, step.gate.piece_count).tolist()
            for kept, step in zip(asked.patterns, gates)
        ]
        *passed, reads = exact.gates(patterns, len(faces))
        names, offsets = asked.polygons.names, asked.polygons.offsets
        parts_of = self._by_knots if isinstance(reads.step and reads.step.gate, Knots) else self._by_leads
        found = []
        for number, face in enumerate(faces.tolist()):
            part = exact.part(number, passed, names[offsets[face] : offsets[face + 1]].tolist())
            forms = reads.forms(number)
            if decision is not None:
                forms = list(decision.competing(forms, (0, 0, 0)).values())
            found += [(face, *made) for made in parts_of(plane, part, forms, reads, len(passed))]
        return found

    def _by_knots(
        self, plane: int, part: Part, forms: list[Form], gate: ExactGate, number: int
    ) -> list[tuple[Part, list[int]]]:
        knots = gate.knots()
        label, levels, lines = (number + 1) * GATE, len(knots[0]), list[tuple[Form, int]]()
        for level in range(levels):
            for unit, (a, b, c) in enumerate(forms):
                lines.append(((a - knots[unit][level], b, c), label + unit * levels + level))
        found = []
        for made in cut_at_knots(part, lines):
            w, p, q = inside_of(made)
            # On a knot inside is on it throughout, and then the piece is the one below.
            heights = [a * w + b * p + c * q for a, b, c in forms]
            found.append((made, [sum(height > k * w for k in row) for height, row in zip(heights, knots)]))
        return found

    def _by_leads(
        self, plane: int, part: Part, forms: list[Form], gate: ExactGate, number: int
    ) -> list[tuple[Part, list[int]]]:
        passed_on = self.bounds.passed_on(gate.name, gate.size)
        windows = [list(range(len(forms)))]
        if gate.step is not None:
            assert isinstance(gate.step.gate, Maximum)
            windows, ties = gate.step.gate.windows.tolist(), self.ties.at(plane, number)
            passed_on = passed_on if ties is None else passed_on | ties.zero
        elif gate.size < len(forms):
            # Against a single output a 0 competes, which no ReLU has passed on.
            passed_on = np.zeros(len(forms), dtype=bool)
        found = []
        for made in cut_by_leads(part, Lead(forms, windows, passed_on.tolist(), (number + 1) * GATE)):
            w, p, q = inside_of(made)
            heights = [a * w + b * p + c * q for a, b, c in forms]
            found.append((made, [_first_largest([heights[source] for source in window]) for window in windows]))
        return found

    def _of_plane(self, plane: int) -> ExactPlane:
        if plane not in self._exact:
            start = on_plane(self._network, *self.planes.row(plane), self.polygons[plane])
            self._exact[plane] = ExactPlane(self._network, start)
        return self._exact[plane]

    def _floats(self, plane: int, parts: list[Part]) -> Polygons:
        """Exact parts as the float walk has them."""
        row = corner_row(self.polygons[plane])
        corners = [corner for part in parts for corner in part]
        return Polygons(
            np.cumsum([0, *map(len, parts)], dtype=np.int64),
            np.array([row(corner.at, corner.line) for corner in corners], dtype=np.float64).reshape(-1, 8),
            np.array([[*corner.name, corner.label] for corner in corners], dtype=np.uint64).reshape(-1, 3),
        )


def _first_largest(heights: list[int]) -> int:
    return heights.index(max(heights))
