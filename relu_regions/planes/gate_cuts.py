"""How a gate cuts faces: what its kernel is told of signs and ties that need no bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from relu_regions.backends.plane_cuts import Cut, Inputs, PlaneKernel, Polygons
from relu_regions.network.arrays import Floats, Integers, Numbers
from relu_regions.network.gates import Knots, Maximum
from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.network.steps import GateStep
from relu_regions.planes.form_bounds import GATE, FormBounds
from relu_regions.planes.ties import GateTies, PlaneTies

__all__ = ["GateFaces", "cut_by_gate"]

# What 16 bits count, and what the pieces of units are that need no test.
_MOST_PIECES, _MOST_KNOWN = 2**15 - 1, 2**7 - 1


@dataclass(frozen=True)
class GateFaces:
    """Some faces before a gate.

    Attributes:
        polygons: the F faces.
        plane: of each face, ``(F,)``.
        forms: of the gate's inputs, ``(F, 3, inputs)``.
        errors: bounds of them, ``(F, inputs)``; None to do without.
        reach: the largest absolute s and t of each face's plane, ``(F, 2)``.
    """

    polygons: Polygons
    plane: Integers
    forms: Floats
    errors: Floats | None
    reach: Floats

    def inputs(self, known: Numbers) -> Inputs:
        """As a kernel has them, with pieces that need no test."""
        errors = np.zeros(self.forms[:, 0].shape) if self.errors is None else self.errors
        return Inputs(self.forms, errors, known, self.reach, self.errors is not None)

    def runs(self) -> Iterator[slice]:
        """The faces of each plane, which come one behind the other."""
        starts = np.flatnonzero(np.diff(self.plane, prepend=-1))
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(self.plane)]):
            yield slice(start, stop)


def cut_by_gate(
    step: GateStep,
    number: int,
    faces: GateFaces,
    kernel: PlaneKernel,
    bounds: FormBounds | None,
    ties: PlaneTies | None,
) -> Cut:
    """The parts into which a gate cuts faces, and which faces it leaves in doubt.

    Args:
        number: of the gate.
        ties: what is equal on the planes; None where bounds are.

    Raises:
        UnsupportedOperation: parts would not be convex, or a unit has more pieces than are counted.
    """
    gate = step.gate
    if not isinstance(gate, (Knots, Maximum)):
        raise UnsupportedOperation(
            f"{step.origin} sorts its numbers. The parts of a plane on which a rank remains one input's need not be "
            "convex, so they are no faces: walk lines, or take the maximum or the minimum instead."
        )
    if gate.piece_count > _MOST_PIECES:
        raise UnsupportedOperation(
            f"{step.origin} has {gate.piece_count:,} pieces for a unit, and planes count {_MOST_PIECES:,} of them: "
            "walk lines, or take a maximum of maxima."
        )
    known = np.zeros((0, 0), dtype=np.int8)
    if bounds is not None and (isinstance(gate, Maximum) or gate.is_relu):
        known = bounds.known(step.inputs[0], faces.forms)
    tied = [] if ties is None else [(run, ties.at(int(faces.plane[run.start]), number)) for run in faces.runs()]
    if isinstance(gate, Knots):
        return _cut_at_knots(gate, number, faces, kernel, known, [(run, one) for run, one in tied if one is not None])
    windows = np.ascontiguousarray(gate.windows.cpu().numpy())
    if bounds is None or ties is None:
        return _cut_by_leads(windows, np.zeros(0, dtype=np.uint64), number, faces, kernel, known)
    labels, cuts = bounds.origins(step.inputs[0]), []
    of_runs = [(run, one, ties.origins(int(faces.plane[run.start]), labels)) for run, one in tied]
    for run, one, origins in _joined(of_runs):
        some = _some(faces, run)
        of_plane = windows if one is None else np.ascontiguousarray(one.same[windows])
        own = known[run]
        if one is not None and one.zero.any():
            own = own.copy() if own.size else np.full(some.forms[:, 0].shape, -1, dtype=np.int8)
            own[:, one.zero] = 0
            origins = origins if len(origins) else np.zeros(some.forms.shape[2], dtype=np.uint64)
        cuts.append((run.start, _cut_by_leads(of_plane, origins, number, some, kernel, own)))
    return _together(cuts)


_Run: TypeAlias = tuple[slice, GateTies | None, Numbers]


def _joined(runs: list[_Run]) -> list[_Run]:
    """Runs that follow each other as one, if they share their ties and the labels of the lines on which units are 0."""
    made: list[_Run] = []
    for run, one, origins in runs:
        if made and made[-1][1] is one and np.array_equal(made[-1][2], origins):
            made[-1] = slice(made[-1][0].start, run.stop), one, origins
        else:
            made.append((run, one, origins))
    return made


def _some(faces: GateFaces, run: slice) -> GateFaces:
    if run.start == 0 and run.stop == len(faces.plane):
        return faces
    errors = None if faces.errors is None else faces.errors[run]
    return GateFaces(
        faces.polygons.some(run.start, run.stop), faces.plane[run], faces.forms[run], errors, faces.reach[run]
    )


def _together(cuts: list[tuple[int, Cut]]) -> Cut:
    """The cuts of faces that follow each other, each with its first face."""
    if len(cuts) == 1:
        return cuts[0][1]
    return Cut(
        np.concatenate([first + cut.parents for first, cut in cuts]),
        Polygons.together([cut.polygons for _, cut in cuts]),
        np.concatenate([cut.pieces for _, cut in cuts]),
        np.concatenate([cut.doubt for _, cut in cuts]),
    )


def _cut_by_leads(
    windows: Integers, origins: Numbers, number: int, faces: GateFaces, kernel: PlaneKernel, known: Numbers
) -> Cut:
    return kernel.cut_by_leads(faces.polygons, faces.inputs(known), windows, origins, (number + 1) * GATE)


def _cut_at_knots(
    gate: Knots,
    number: int,
    faces: GateFaces,
    kernel: PlaneKernel,
    known: Numbers,
    tied: list[tuple[slice, GateTies]],
) -> Cut:
    """A cut at knots, where units that share a line are tested once."""
    knots = np.ascontiguousarray(gate.knots.cpu().double().expand(-1, faces.forms.shape[2]).numpy())
    label = (number + 1) * GATE
    if not tied:
        return kernel.cut_at_knots(faces.polygons, faces.inputs(known), knots, label)
    told = known.copy() if known.size else np.full(faces.forms[:, 0].shape, -1, dtype=np.int8)
    at_zero = (knots < 0).sum(0)
    for run, ties in tied:
        zero = ties.zero & (at_zero <= _MOST_KNOWN)
        told[run, zero] = at_zero[zero]
    untested = told.copy()
    for run, ties in tied:
        untested[run, ties.source != np.arange(len(ties.source))] = 0
    cut = kernel.cut_at_knots(faces.polygons, faces.inputs(untested), knots, label)
    pieces = cut.pieces.copy()
    for run, ties in tied:
        first, last = np.searchsorted(cut.parents, [run.start, run.stop])
        own = cut.pieces[first:last][:, ties.source]
        # The negative of a number above 0 is below it, and the other way round; that of 0 is 0, on the piece below.
        is_zero = told[cut.parents[first:last]][:, ties.source] == 0
        opposite = np.where(is_zero, 0, 1 - own)
        pieces[first:last] = np.where(ties.sign > 0, own, opposite)
    return cut._replace(pieces=pieces)
