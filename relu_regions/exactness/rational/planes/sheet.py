"""Faces of one plane on their way through a network, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from torch import Tensor

from relu_regions.exactness.rational.arithmetic import SparseVector, dyadic
from relu_regions.exactness.rational.coefficients import (
    ExactAffine,
    ExactKnots,
    ExactMaximum,
    ExactNetwork,
    ExactOrderStatistic,
)
from relu_regions.exactness.rational.functions import Scaled, affine_image
from relu_regions.exactness.rational.planes.bent_faces import BentFace, bend_at_knots, bend_maximum
from relu_regions.exactness.rational.planes.polygons import Form, Polygon
from relu_regions.network.reading.operations import UnsupportedOperation

__all__ = ["Pattern", "Sheet", "forms_on", "on_plane"]

# For each gate, the piece of every unit.
Pattern: TypeAlias = tuple[tuple[int, ...], ...]

# How many faces go on together; the others wait.
_FACES = 256


@dataclass(frozen=True)
class Sheet:
    """Some faces of a plane, taken through the first steps of a network.

    Attributes:
        polygons: the faces.
        patterns: for each face the pieces of the gates passed.
        values: those that later steps need, three vectors for each face: constants, slopes by s and slopes by t.
        step: the next step.
    """

    polygons: list[Polygon]
    patterns: list[Pattern]
    values: dict[str, Scaled]
    step: int = 0

    def through(self, network: ExactNetwork) -> Iterator[Sheet]:
        """Take the faces to the network's end, some of them at a time."""
        waiting = [self]
        while waiting:
            sheet = waiting.pop()
            if sheet.step == len(network.steps):
                yield sheet
            else:
                waiting += reversed(list(sheet._next(network)._parts()))

    def _next(self, network: ExactNetwork) -> Sheet:
        step = network.steps[self.step]
        if isinstance(step, ExactAffine):
            inputs = [self.values[name] for name in step.inputs]
            made = affine_image(step, inputs, range(0, 3 * len(self.polygons), 3))
            following = replace(self, values={**self.values, step.output: made}, step=self.step + 1)
        elif isinstance(step, ExactOrderStatistic):
            raise UnsupportedOperation(
                f"{network.network.steps[self.step].origin} sorts its numbers. The parts of a plane on which a rank "
                "remains one input's need not be convex, so they are no faces: walk lines, or take the maximum or the "
                "minimum instead."
            )
        else:
            following = self._gate(step)
        for name in network.releases[self.step]:
            del following.values[name]
        return following

    def _gate(self, step: ExactKnots | ExactMaximum) -> Sheet:
        exponent, bent = self._bent(step)
        faces = [(face, part) for face, parts in enumerate(bent) for part in parts]
        values = {
            name: Scaled(value.exponent, [vector for face, _ in faces for vector in _of_face(value, face)])
            for name, value in self.values.items()
        }
        values[step.output] = Scaled(exponent, [vector for _, part in faces for vector in part.output])
        return Sheet(
            polygons=[part.polygon for _, part in faces],
            patterns=[(*self.patterns[face], part.pieces) for face, part in faces],
            values=values,
            step=self.step + 1,
        )

    def _bent(self, step: ExactKnots | ExactMaximum) -> tuple[int, list[list[BentFace]]]:
        """The exponent of a gate's output, and the parts of each face."""
        inputs, numbers = self.values[step.input], range(len(self.polygons))
        if isinstance(step, ExactMaximum):
            size = 1 + max((place for window in step.windows for _, place in window), default=-1)
            forms = [forms_on(inputs, face, size) for face in numbers]
            return inputs.exponent, [bend_maximum(step, *face) for face in zip(forms, self.polygons)]
        inputs = inputs.lifted(step.input_exponent(inputs.exponent))
        tables = step.at(inputs.exponent)
        forms = [forms_on(inputs, face, step.size) for face in numbers]
        exponent = inputs.exponent + step.slope_exponent
        return exponent, [bend_at_knots(tables, *face) for face in zip(forms, self.polygons)]

    def _parts(self) -> Iterator[Sheet]:
        for start in range(0, len(self.polygons), _FACES):
            some = slice(start, start + _FACES)
            values = {
                name: Scaled(value.exponent, value.vectors[3 * some.start : 3 * some.stop])
                for name, value in self.values.items()
            }
            yield Sheet(self.polygons[some], self.patterns[some], values, self.step)


def on_plane(network: ExactNetwork, x: Tensor, u: Tensor, v: Tensor, polygon: Polygon) -> Sheet:
    """The plane ``x + s u + t v`` before the first step; x, u and v are one input each, in float64."""
    size = x.numel()
    integers, exponent = dyadic(np.concatenate([part.numpy().reshape(-1) for part in (x, u, v)]))
    vectors: list[SparseVector] = [
        {position: number for position, number in enumerate(integers[start : start + size]) if number}
        for start in range(0, 3 * size, size)
    ]
    return Sheet([polygon], [()], {network.network.input_name: Scaled(exponent, vectors)})


def forms_on(value: Scaled, face: int, size: int) -> list[Form]:
    """The numbers of a value on one face as affine functions of s and t."""
    constants, by_s, by_t = _of_face(value, face)
    return [(constants.get(place, 0), by_s.get(place, 0), by_t.get(place, 0)) for place in range(size)]


def _of_face(value: Scaled, face: int) -> Sequence[SparseVector]:
    return value.vectors[3 * face : 3 * face + 3]
