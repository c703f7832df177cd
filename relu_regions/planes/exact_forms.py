"""Faces of a float walk in exact arithmetic: what gates read on them, the lines of their edges, and their corners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from relu_regions.backends.plane_corners import pair_of
from relu_regions.exactness.rational.coefficients import ExactAffine, ExactKnots, ExactMaximum, ExactNetwork
from relu_regions.exactness.rational.functions import Scaled, affine_image
from relu_regions.exactness.rational.planes.polygons import Form, crossing, difference, primitive
from relu_regions.exactness.rational.planes.sheet import Sheet, forms_on
from relu_regions.network.gates import Maximum
from relu_regions.network.steps import GateStep
from relu_regions.planes.exact_parts import NamedCorner, Part
from relu_regions.planes.form_bounds import GATE

__all__ = ["ExactGate", "ExactPlane"]


@dataclass(frozen=True)
class ExactGate:
    """What a gate reads on some faces of one plane.

    Attributes:
        step: the gate; None for the network's output, and after it.
        table: its functions, in integers over the inputs' power of two; none for a maximum.
        inputs: three vectors for each face.
        size: how many numbers it reads.
        name: of the value that it reads.
    """

    step: GateStep | None
    exact: ExactKnots | ExactMaximum | None
    inputs: Scaled
    size: int
    name: str

    def forms(self, face: int) -> list[Form]:
        """What it reads on a face."""
        return forms_on(self.inputs, face, self.size)

    def knots(self) -> list[tuple[int, ...]]:
        """The knots of each unit, over the inputs' power of two."""
        assert isinstance(self.exact, ExactKnots)
        tables = [table.knots for table in self.exact.at(self.inputs.exponent)]
        return tables * self.size if len(tables) == 1 else tables

    def line(self, number: int, gate: int, forms: Sequence[Form]) -> Form:
        """The line with a label, as that of an edge of a face.

        Args:
            gate: the number of this gate.
            forms: what it reads on the face.
        """
        assert self.step is not None
        label = (gate + 1) * GATE
        if isinstance(self.step.gate, Maximum):
            units, width = self.step.gate.windows.shape
            found = pair_of(label, number, units, width)
            assert found is not None
            one, other = self.step.gate.windows[found[0], list(found[1:])].tolist()
            return primitive(difference(forms[one], forms[other]))
        knots = self.knots()
        unit, level = divmod(number - label, len(knots[0]))
        a, b, c = forms[unit]
        return primitive((a - knots[unit][level], b, c))


class ExactPlane:
    """One plane of a walk in exact arithmetic.

    Args:
        network: with exact coefficients, its batch norms as they are.
        start: the plane before the first step.
    """

    def __init__(self, network: ExactNetwork, start: Sheet) -> None:
        self._network = network
        (self._polygon,), self._start = start.polygons, start.values[network.network.input_name]

    def gates(self, pieces: Sequence[Sequence[Sequence[int]]], faces: int) -> list[ExactGate]:
        """The gates passed, and what comes next: a gate, or the output behind the last step.

        Args:
            pieces: for each gate passed those of each face.
            faces: how many.
        """
        network, found = self._network, list[ExactGate]()
        values = {network.network.input_name: Scaled(self._start.exponent, self._start.vectors * faces)}
        for exact, step, gone in zip(network.steps, network.network.steps, network.releases):
            if isinstance(exact, ExactAffine):
                values[step.output] = affine_image(
                    exact, [values[name] for name in step.inputs], range(0, 3 * faces, 3)
                )
            else:
                assert isinstance(step, GateStep) and isinstance(exact, (ExactKnots, ExactMaximum))
                inputs, number = values[step.inputs[0]], len(found)
                if isinstance(exact, ExactKnots):
                    inputs = inputs.lifted(exact.input_exponent(inputs.exponent))
                size = int(np.prod(network.network.shapes[step.inputs[0]], dtype=np.int64))
                found.append(ExactGate(step, exact, inputs, size, step.inputs[0]))
                if number == len(pieces):
                    return found
                values[step.output] = _behind(exact, step, inputs, pieces[number])
            for name in gone:
                del values[name]
        size = int(np.prod(network.network.output_shape, dtype=np.int64))
        name = network.network.output_name
        return [*found, ExactGate(None, None, values[name], size, name)]

    def part(self, face: int, gates: Sequence[ExactGate], names: list[list[int]]) -> Part:
        """A face as an exact polygon.

        Args:
            face: its number among those of the gates.
            gates: those passed.
            names: of its corners, and the labels of its edges.
        """
        read: dict[int, list[Form]] = {}
        lines = []
        for *_, label in names:
            if label < GATE:
                lines.append(self._polygon.lines[label - 1])
                continue
            gate = label // GATE - 1
            if gate not in read:
                read[gate] = gates[gate].forms(face)
            lines.append(gates[gate].line(label, gate, read[gate]))
        return [
            NamedCorner(crossing(before, line), (one, two), line, label)
            for before, line, (one, two, label) in zip([lines[-1], *lines], lines, names)
        ]


def _behind(
    exact: ExactKnots | ExactMaximum, step: GateStep, inputs: Scaled, pieces: Sequence[Sequence[int]]
) -> Scaled:
    """A gate's output on faces, from its pieces there."""
    vectors = inputs.vectors
    if isinstance(exact, ExactMaximum):
        windows = step.gate.windows.tolist() if isinstance(step.gate, Maximum) else []
        sources = [[window[piece] for window, piece in zip(windows, row)] for row in pieces]
        return Scaled(
            inputs.exponent,
            [
                {unit: vector[source] for unit, source in enumerate(sources[number // 3]) if source in vector}
                for number, vector in enumerate(vectors)
            ],
        )
    tables = exact.at(inputs.exponent)
    if len(tables) == 1:
        tables = tables * exact.size
    made = []
    for number, vector in enumerate(vectors):
        row, is_constant = pieces[number // 3], number % 3 == 0
        output = {}
        for unit, (piece, table) in enumerate(zip(row, tables)):
            value = table.slopes[piece] * vector.get(unit, 0) + (table.offsets[piece] if is_constant else 0)
            if value:
                output[unit] = value
        made.append(output)
    return Scaled(inputs.exponent + exact.slope_exponent, made)
