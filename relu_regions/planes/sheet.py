"""Faces of planes on their way through a network, in floats, with a bound of every form's error."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from relu_regions.backends.plane_corners import LARGEST
from relu_regions.backends.plane_cuts import Cut, PlaneKernel, Polygons
from relu_regions.network.arrays import Floats, Integers, Numbers
from relu_regions.network.gates import Knots, Maximum
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep
from relu_regions.planes.doubts import Asked, Doubts
from relu_regions.planes.form_bounds import FormBounds, sizes
from relu_regions.planes.gate_cuts import GateFaces, cut_by_gate
from relu_regions.planes.ties import PlaneTies
from relu_regions.planes.tiles import packed

__all__ = ["Parts", "Sheet", "Way"]


# Four roundings, and more than underflow takes away.
_ROUNDING, _UNDERFLOW = 4 * 2.0**-53, 1e-290


@dataclass(frozen=True)
class Way:
    """What all sheets of a call go through.

    Attributes:
        network: with its batch norms folded.
        bounds: those of its steps; None to do without.
        kernel: what cuts faces.
        reach: the largest absolute s and t of each plane's polygon, ``(N, 2)``.
        ties: what is equal on the planes; None without bounds.
        doubts: what settles faces in doubt; None to leave them.
    """

    network: Network
    bounds: FormBounds | None
    kernel: PlaneKernel
    reach: Floats
    ties: PlaneTies | None = None
    doubts: Doubts | None = None


@dataclass(frozen=True)
class Sheet:
    """Some faces, of one plane or of several, taken through the first steps of a network.

    Attributes:
        polygons: the F faces.
        plane: of each face, ``(F,)`` int64.
        patterns: for each gate passed the pieces of its units, as ``packed`` keeps them.
        values: those that later steps need, ``(3 F, *shape)``: constant, slope by s and slope by t for each face.
        errors: bounds of the errors of these forms on the plane's whole polygon, ``(F, *shape)``; none without bounds.
        step: the next step.
    """

    polygons: Polygons
    plane: Integers
    patterns: tuple[Numbers, ...]
    values: dict[str, Tensor]
    errors: dict[str, Tensor]
    step: int = 0

    def __len__(self) -> int:
        return len(self.plane)

    def some(self, first: int, stop: int) -> Sheet:
        """The faces from one to another."""
        return Sheet(
            self.polygons.some(first, stop),
            self.plane[first:stop],
            tuple(pieces[first:stop] for pieces in self.patterns),
            {name: value[3 * first : 3 * stop] for name, value in self.values.items()},
            {name: error[first:stop] for name, error in self.errors.items()},
            self.step,
        )

    def only(self, which: Integers) -> Sheet:
        """Some of the faces, by their numbers; a face may come more than once."""
        return self._of_parts(which, self.polygons.only(which))

    def affine(self, way: Way) -> Sheet:
        """The sheet behind an affine step."""
        step = way.network.steps[self.step]
        assert isinstance(step, AffineStep)
        made = step.linear(*(self.values[name] for name in step.inputs))
        if step.bias is not None:
            made = _own(made, [self.values[name] for name in step.inputs])
            made.view(len(self), 3, *step.shape)[:, 0] += step.bias
        errors = self.errors
        if way.bounds is not None:
            inputs = [(self.values[name], self.errors[name]) for name in step.inputs]
            errors = errors | {step.output: way.bounds.affine(step, inputs, self._reach(way), way.kernel)}
        return self._behind(way, self.values | {step.output: made}, errors)

    def gate(self, way: Way) -> tuple[Parts, Integers]:
        """The parts into which a gate cuts the faces, and the planes that it leaves in doubt."""
        step = way.network.steps[self.step]
        assert isinstance(step, GateStep)
        forms, errors = self._inputs(step, way)
        faces = GateFaces(self.polygons, self.plane, forms, errors, self._reach(way))
        cut = cut_by_gate(step, way.network.gate_numbers[self.step], faces, way.kernel, way.bounds, way.ties)
        if cut.doubt.any() and way.doubts is not None:
            cut = way.doubts.settled(self.asked(forms, errors, way), cut)
        in_doubt = np.unique(self.plane[cut.doubt]) if cut.doubt.any() else self.plane[:0]
        return Parts(self, cut), in_doubt

    def asked(self, forms: Floats, errors: Floats | None, way: Way) -> Asked:
        """The faces, to be cut exactly.

        Args:
            forms: what they are to be cut by, ``(F, 3, numbers)``.
            errors: bounds of them, ``(F, numbers)``.
        """
        finite = np.logical_and(np.isfinite(self._reach(way)).all(1), np.isfinite(forms).all((1, 2)))
        if errors is not None:
            finite &= (errors < LARGEST).all(1)
        return Asked(self.polygons, self.plane, self.patterns, finite)

    def behind(self, cut: Cut, way: Way) -> Sheet:
        """The sheet behind a gate, of some of the parts that it makes."""
        step = way.network.steps[self.step]
        assert isinstance(step, GateStep)
        forms, errors = self._inputs(step, way)
        # Nobody else needs what this releases.
        parts = self._of_parts(cut.parents, cut.polygons, way.network.releases[self.step])
        made, error = _bent(step, forms, errors, cut, parts._reach(way), way.kernel)
        parts = replace(parts, patterns=(*parts.patterns, packed(cut.pieces, step.gate.piece_count)))
        new_errors = parts.errors if error is None else parts.errors | {step.output: error}
        return parts._behind(way, parts.values | {step.output: made}, new_errors)

    def _inputs(self, step: GateStep, way: Way) -> tuple[Floats, Floats | None]:
        """The gate's inputs ``(F, 3, inputs)``, and their bounds ``(F, inputs)``."""
        name = step.inputs[0]
        forms = self.values[name].reshape(len(self), 3, math.prod(self.values[name].shape[1:])).contiguous().numpy()
        if way.bounds is None:
            return forms, None
        return forms, self.errors[name].reshape(len(self), forms.shape[2]).contiguous().numpy()

    def _reach(self, way: Way) -> Floats:
        return way.reach[self.plane]

    def _of_parts(self, parents: Integers, polygons: Polygons, released: tuple[str, ...] = ()) -> Sheet:
        """The parts of faces, with what the faces have of values, but for those that are released."""
        rows = torch.from_numpy(parents)
        values = {
            name: value.view(len(self), 3, *value.shape[1:])[rows].flatten(0, 1)
            for name, value in self.values.items()
            if name not in released
        }
        errors = {name: error[rows] for name, error in self.errors.items() if name not in released}
        patterns = tuple(pieces[parents] for pieces in self.patterns)
        return Sheet(polygons, self.plane[parents], patterns, values, errors, self.step)

    def _behind(self, way: Way, values: dict[str, Tensor], errors: dict[str, Tensor]) -> Sheet:
        """The sheet behind its next step."""
        gone = set(way.network.releases[self.step])
        return replace(
            self,
            values={name: value for name, value in values.items() if name not in gone},
            errors={name: error for name, error in errors.items() if name not in gone},
            step=self.step + 1,
        )


@dataclass(frozen=True)
class Parts:
    """Parts of a sheet's faces behind a gate, whose forms are made when they go on: they take most of the memory.

    Attributes:
        sheet: before the gate.
        cut: what the gate makes of it, or some of that.
    """

    sheet: Sheet
    cut: Cut

    def __len__(self) -> int:
        return len(self.cut.parents)

    @property
    def step(self) -> int:
        """The next step."""
        return self.sheet.step + 1

    def some(self, first: int, stop: int) -> Parts:
        """The parts from one to another."""
        cut = self.cut
        some = Cut(cut.parents[first:stop], cut.polygons.some(first, stop), cut.pieces[first:stop], cut.doubt)
        return replace(self, cut=some)

    def made(self, way: Way) -> Sheet:
        """The sheet of these parts."""
        return self.sheet.behind(self.cut, way)


def _own(made: Tensor, values: list[Tensor]) -> Tensor:
    """A step's output, or a copy if it is in the memory of values, which later steps may need, or repeats numbers."""
    places = {value.untyped_storage().data_ptr() for value in values}
    repeats = any(stride == 0 and size > 1 for stride, size in zip(made.stride(), made.shape))
    shared = repeats or made.untyped_storage().data_ptr() in places
    return made.clone(memory_format=torch.contiguous_format) if shared else made


def _bent(
    step: GateStep, forms: Floats, errors: Floats | None, cut: Cut, reach: Floats, kernel: PlaneKernel
) -> tuple[Tensor, Tensor | None]:
    """A gate's output on the parts, ``(3 P, *shape)``, and its bounds, ``(P, *shape)``."""
    rows, gate, shape = torch.from_numpy(cut.parents), step.gate, step.shape
    if isinstance(gate, Knots) and gate.is_relu:
        nothing = np.zeros((0, 0))
        relu, bound = kernel.bend_relu(forms, nothing if errors is None else errors, cut.parents, cut.pieces)
        bounds = None if errors is None else torch.from_numpy(bound).view(-1, *shape)
        return torch.from_numpy(relu).view(-1, *shape), bounds
    inputs, pieces = torch.from_numpy(forms)[rows], torch.from_numpy(cut.pieces).long()
    bounds = None if errors is None else torch.from_numpy(errors)[rows]
    if isinstance(gate, Maximum):
        places = gate.windows.cpu()[torch.arange(step.units), pieces]
        made = inputs.gather(2, places[:, None].expand(-1, 3, -1))
        bounds = None if bounds is None else bounds.gather(1, places)
    else:
        assert isinstance(gate, Knots)
        tables = (part.expand(-1, step.units) for part in (gate.slopes, gate.offsets))
        slope, offset = (table.gather(0, pieces) for table in tables)
        made = inputs * slope[:, None]
        made[:, 0] += offset
        if bounds is not None:
            # The rounding of the product, and of the sum with the offset.
            rounding = _ROUNDING * (sizes(made.flatten(0, 1), reach) + 2 * offset.abs()) + _UNDERFLOW
            bounds = 1.0000001 * (slope.abs() * bounds) + rounding
    return made.reshape(-1, *shape), None if bounds is None else bounds.reshape(-1, *shape)
