"""Faces of planes as arrays, what gates make of them, and which kernel does it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple, Protocol, cast

import numpy as np

from relu_regions import backends
from relu_regions.network.arrays import Floats, Integers, Numbers

__all__ = ["Cut", "Inputs", "PlaneKernel", "Polygons", "plane_kernel"]


@dataclass(frozen=True)
class Polygons:
    """Convex polygons in planes, corner by corner, counter-clockwise.

    Attributes:
        offsets: ``(F + 1,)`` int64, polygon f has the corners ``offsets[f]`` to ``offsets[f + 1]``.
        numbers: ``(K, 8)`` float64: s and t of a corner, how far the true corner can be from there in each, and the
            form (constant, slope by s, slope by t) that is 0 on the edge that begins there, with a bound of its error
            on the plane's whole polygon, the rounding of its evaluation included.
        names: ``(K, 3)`` uint64: two hashes that name a corner alike in all polygons that have it, and the label of the
            edge that begins there.
    """

    offsets: Integers
    numbers: Floats
    names: Numbers

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def some(self, first: int, stop: int) -> Polygons:
        """The polygons from one to another."""
        corners = slice(self.offsets[first], self.offsets[stop])
        offsets = self.offsets[first : stop + 1] - self.offsets[first]
        return Polygons(offsets, self.numbers[corners], self.names[corners])

    def only(self, which: Integers) -> Polygons:
        """Some of the polygons, by their numbers."""
        counts = np.diff(self.offsets)[which]
        offsets = np.concatenate([[0], counts.cumsum()])
        corners = np.repeat(self.offsets[:-1][which] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Polygons(offsets, self.numbers[corners], self.names[corners])

    @classmethod
    def together(cls, parts: list[Polygons]) -> Polygons:
        """All polygons of several stacks, one behind the other."""
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            np.concatenate([[0], counts.cumsum()]),
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.names for part in parts]),
        )


class Inputs(NamedTuple):
    """The inputs of a gate on F faces, as forms in s and t.

    Attributes:
        forms: ``(F, 3, inputs)`` float64: constants, slopes by s, slopes by t.
        errors: bounds of them on the plane's whole polygon, ``(F, inputs)``.
        known: ``(F, inputs)`` int8: 0 for inputs that are 0 on the face, 1 for those that are above 0 inside of it, -1
            for all others; ``(0, 0)`` where all are others.
        reach: the largest absolute s and t of each face's plane, ``(F, 2)``.
        bounded: whether signs must be sure. If not, they are those of floats, and no face is in doubt.
    """

    forms: Floats
    errors: Floats
    known: Numbers
    reach: Floats
    bounded: bool


class Cut(NamedTuple):
    """What a gate makes of some faces.

    Attributes:
        parents: ``(P,)`` int64, the face that each part is of; parts are in the order of their faces.
        polygons: the P parts.
        pieces: ``(P, units)``.
        doubt: ``(F,)`` bool, the faces on which a sign was in doubt; they have no parts.
    """

    parents: Integers
    polygons: Polygons
    pieces: Numbers
    doubt: Numbers


class PlaneKernel(Protocol):
    """What a backend answers; ``relu_regions.backends.plane_reference`` says what each function does."""

    def cut_at_knots(self, polygons: Polygons, inputs: Inputs, knots: Floats, label: int) -> Cut: ...

    def cut_by_leads(
        self, polygons: Polygons, inputs: Inputs, windows: Integers, origins: Numbers, label: int
    ) -> Cut: ...

    def bend_relu(self, forms: Floats, errors: Floats, parents: Integers, pieces: Numbers) -> tuple[Floats, Floats]: ...

    def summands(self, forms: Floats, errors: Floats, reach: Floats, rounding: float) -> Floats: ...

    def number_corners(self, names: Numbers, first: int, last: int) -> tuple[Integers, Integers]: ...

    def number_sides(self, corners: Integers, offsets: Integers) -> tuple[Integers, Integers]: ...


def plane_kernel() -> PlaneKernel:
    """What cuts faces, on the processor: compiled loops where numba is installed and the reference is not chosen."""
    reference = backends.chosen() == "reference" or find_spec("numba") is None
    name = "plane_reference" if reference else "cpu.plane_compiled"
    return cast(PlaneKernel, import_module(f"{backends.__name__}.{name}"))
