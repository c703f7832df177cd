"""Rigorous bounds of a walk's rounding errors, and whether they leave any doubt about its combinatorics.

Every row of a stack of points stands for one point of the true walk, with the same bends in the same order, as long as
no decision has been in doubt. A bound for a row limits how far any number of the value there can be from its true number
at that true point. A decision (a sign, the order of two crossings) that its bounds leave open makes its segment
uncertain. The bounds are semi-static: one number for each row and value, from norms of the steps.

Sums: the computed Σ a_i v_i of n products, in any order, is within γ_n Σ |a_i||v_i| of the true one, γ_n = n u / (1 − n u)
(Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1). Twice the terms are taken, which
covers the rounding of the bounds themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from relu_regions.gates import Gate, Knots
from relu_regions.kernels import Placement
from relu_regions.network import Network
from relu_regions.points import Points
from relu_regions.steps import AffineStep

__all__ = ["Certainty", "StepNorms"]


@dataclass(frozen=True)
class StepNorms:
    """What bounds the error that an affine step makes and passes on.

    Attributes:
        gain: the largest Σ |a| of an output number.
        bias: the largest |b|.
        rounding: γ of the step's number of terms.
        floor: what underflow can add.
    """

    gain: float
    bias: float
    rounding: float
    floor: float

    @classmethod
    def of(cls, network: Network, step: AffineStep, dtype: torch.dtype) -> StepNorms:
        """The norms of a step of a network."""
        shapes = {other.output: other.shape for other in network.steps} | {network.input_name: network.input_shape}
        ones = [_like(step, torch.ones(1, *shapes[name], dtype=dtype)) for name in step.inputs]
        gain = float(step.magnitude(*ones).max()) if step.shape.count(0) == 0 else 0.0
        bias = 0.0 if step.bias is None else float(step.bias.abs().max())
        unit, terms = torch.finfo(dtype).eps / 2, 2 * (step.terms + 2)
        return cls(gain, bias, terms * unit / (1 - terms * unit), terms * torch.finfo(dtype).tiny)


def _like(step: AffineStep, value: Tensor) -> Tensor:
    return value.to(step.constants[0].device) if step.constants else value


class Certainty:
    """Carries the bounds of a stack of points through the steps of a network.

    The bounds lie in ``points.errors``, ``(P,)`` for each value and for ``position`` and ``weight``; doubt is marked in
    ``points.uncertain``, ``(S,)``.

    Args:
        network: the network walked, whose gates all have knots.
        dtype: of the walk.
    """

    def __init__(self, network: Network, dtype: torch.dtype) -> None:
        self.unit = torch.finfo(dtype).eps / 2
        self.norms = {s.output: StepNorms.of(network, s, dtype) for s in network.steps if isinstance(s, AffineStep)}

    def affine(self, step: AffineStep, values: dict[str, Tensor], errors: dict[str, Tensor]) -> None:
        """The bound of an affine step's output, from those of its inputs."""
        norms = self.norms[step.output]
        size = torch.stack([_largest(values[name]) for name in step.inputs]).amax(0)
        error = torch.stack([errors[name] for name in step.inputs]).amax(0)
        made = norms.rounding * (norms.gain * (size + error) + norms.bias) + norms.floor
        errors[step.output] = norms.gain * error + made

    def along(self, at: Tensor, direction: Tensor, errors: tuple[Tensor, Tensor], position: Tensor) -> Tensor:
        """The bound of ``weight * at + position * direction``, weight at most 1."""
        sizes = _largest(at) + errors[0], _largest(direction) + errors[1]
        passed = errors[0] + position.abs() * errors[1]
        return passed + 8 * self.unit * (sizes[0] + position.abs() * sizes[1])

    def gate(self, gate: Gate, points: Points, name: str, inputs: Tensor, placed: Placement) -> None:
        """Mark the segments in which the gate's decisions are in doubt, before the new points are inserted."""
        if not isinstance(gate, Knots):
            points.uncertain[:] = True
            return
        error = points.errors[name]
        for knot in gate.knots:
            distance = (
                inputs
                if not knot.any()
                else inputs - (knot if points.weight is None else knot * points.weight[:, None])
            )
            bound = error if not knot.any() else error + self._knot_rounding(knot, distance, points)
            doubt = (distance.abs() <= bound[:, None]).any(1).nonzero()[:, 0]
            self._doubt(points, doubt)
        shift = self._shifts(gate, points, error, inputs, placed)
        bends = placed.bends
        self._doubt(points, bends.row[~placed.inside])
        if len(bends.row) > 1:
            widest = torch.zeros_like(error).scatter_reduce(0, bends.row, shift, "amax")
            same = bends.row[1:] == bends.row[:-1]
            close = ~(bends.right[1:] - bends.right[:-1] > 2 * widest[bends.row[1:]])
            self._doubt(points, bends.row[1:][same & close])

    def _knot_rounding(self, knot: Tensor, distance: Tensor, points: Points) -> Tensor:
        """What the knot's own multiplication and subtraction add, and an uncertain weight."""
        largest = knot.abs().max()
        weight = points.errors.get("weight", torch.zeros_like(points.position))
        return largest * weight + 4 * self.unit * (_largest(distance) + largest)

    def _shifts(self, gate: Knots, points: Points, error: Tensor, inputs: Tensor, placed: Placement) -> Tensor:
        """How far the two weights of each crossing can be from the true ones, ``(K,)``."""
        bends = placed.bends
        largest = torch.maximum(error[bends.row], error[bends.row + 1])
        if gate.knots.any():
            scale = gate.knots.abs().max()
            size = torch.maximum(_largest(inputs)[bends.row], _largest(inputs)[bends.row + 1])
            weight = points.errors.get("weight", torch.zeros_like(points.position))
            largest = largest + scale * torch.maximum(weight[bends.row], weight[bends.row + 1])
            largest = largest + 4 * self.unit * (size + scale)
        rise = self._rise(gate, points, inputs, bends.row, bends.unit, torch.maximum(bends.before, bends.after) - 1)
        certain = rise - 2 * largest
        # A rise within its error says nothing; the signs at its ends are then in doubt already.
        return torch.where(certain > 0, largest / certain, torch.inf) + 8 * self.unit

    def _rise(self, gate: Knots, points: Points, inputs: Tensor, row: Tensor, unit: Tensor, knot: Tensor) -> Tensor:
        column = unit if gate.knots.shape[1] > 1 else torch.zeros_like(unit)
        level = gate.knots[knot, column]
        here, there = (
            (level, level) if points.weight is None else (level * points.weight[row], level * points.weight[row + 1])
        )
        return ((inputs[row, unit] - here) - (inputs[row + 1, unit] - there)).abs()

    def inserted(self, gate: Gate, points: Points, name: str, inputs: Tensor, placed: Placement) -> dict[str, Tensor]:
        """The bounds of all values, and of position and weight, once the new points are there."""
        if not isinstance(gate, Knots):
            return {
                key: torch.full_like(placed.added[:1], 1, dtype=error.dtype).expand(len(placed))
                for key, error in points.errors.items()
            }
        new = torch.zeros(len(placed.row), dtype=points.position.dtype, device=points.position.device)
        opens = placed.inside.clone()
        group = torch.bucketize(placed.bend_row, placed.new_rows)
        shift = self._shifts(gate, points, points.errors[name], inputs, placed)
        new = new.scatter_reduce(0, group[opens], shift[opens], "amax")
        held = {**points.values, name: inputs, "position": points.position[:, None]}
        if points.weight is not None:
            held["weight"] = points.weight[:, None]
        return {key: self._mixed(value, points.errors[key], placed, new) for key, value in held.items()}

    def _mixed(self, value: Tensor, error: Tensor, placed: Placement, shift: Tensor) -> Tensor:
        here, there = value[placed.row].flatten(1), value[placed.row + 1].flatten(1)
        passed = torch.maximum(error[placed.row], error[placed.row + 1])
        size = torch.maximum(_largest(here), _largest(there))
        mixed = passed + shift * (_largest(there - here) + 2 * passed) + 8 * self.unit * (size + passed)
        result = error.new_empty(len(placed))
        result[placed.old_rows], result[placed.new_rows] = error, mixed
        return result

    def applied(self, gate: Gate, error: Tensor, outputs: Tensor) -> Tensor:
        """The bound of a gate's output, from that of its input."""
        if not isinstance(gate, Knots):
            return error
        steepest = gate.slopes.abs().max()
        offset = gate.offsets.abs().max()
        return steepest * error + (0.0 if gate.is_relu else 8 * self.unit) * (_largest(outputs) + offset)

    def _doubt(self, points: Points, rows: Tensor) -> None:
        points.uncertain[torch.bucketize(rows, points.offsets[1:], right=True)] = True


def _largest(value: Tensor) -> Tensor:
    """The largest absolute number of each row."""
    flat = value.flatten(1)
    if flat.shape[1] == 0:
        return flat.new_zeros(len(flat))
    return torch.linalg.vector_norm(flat, torch.inf, dim=1)
