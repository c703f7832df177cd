"""Rigorous bounds of a walk's rounding errors, and whether they leave any doubt about its combinatorics.

Write t for the coordinate ``position`` of a segment's points (on a ray it is linear along the homogeneous line too).
The rows of a stack have places t_i; the computed values at the rows, interpolated, are a curve. Two bounds go along:

- ``errors[value]``: how far the curve is from the true value anywhere beside the row;
- ``errors["shift"]``: how far the true bend that a row stands for is from t_i.

A unit's value at the true bend is then within ``error + shift * slope`` of its value at the row, with the unit's own
slope; affine steps map slopes as they map values, so a shift is never amplified. A sign that this leaves open, or two
crossings of one interval whose shifts overlap, makes the segment uncertain; without such a doubt the walk has the bends
of the true network in their true order. The bounds are semi-static: one number for each row and value, from norms of
the steps.

Sums: the computed Σ a_i v_i of n products, in any order, is within γ_n Σ |a_i||v_i| of the true one, γ_n = n u / (1 − n
u) (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1). Twice the terms are taken, which
covers the rounding of the bounds themselves. A new row ``l v_i + r v_{i+1}`` is within 8 u max|v| of the curve at its
place, and so is a unit that is set to its knot there. A maximum is set to its inputs' maximum there, which is within
128 u max|v| of the curve's: two inputs that cross at the row differ there by what its rounded place makes of their
slopes. So is an order statistic, by the same argument.

Numbers that are equal by construction (``relu_regions.exactness.equal_by_construction``) leave no doubt where they tie.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from relu_regions.backends import Placement, kernel_for
from relu_regions.backends.points import Points
from relu_regions.backends.ties import Ties, TieTables
from relu_regions.exactness.equal_by_construction import EqualNumbers
from relu_regions.exactness.equal_on_lines import equal_everywhere
from relu_regions.exactness.line_ties import still_open
from relu_regions.exactness.maximum_bounds import coincident, rivals_in_doubt
from relu_regions.exactness.rank_bounds import nearest_rival, passing_in_doubt
from relu_regions.exactness.shifts import Shifts, beside, near_zero
from relu_regions.exactness.starts import Starts
from relu_regions.exactness.step_norms import StepNorms
from relu_regions.exactness.whole_forms import AnyTies, FormTies
from relu_regions.network.chains import Chain
from relu_regions.network.gates import Gate, Knots, Maximum, OrderStatistic, Selection
from relu_regions.network.network import Network
from relu_regions.network.plan import chains, folded
from relu_regions.network.rounding_constants import CROSSING, NEW_ROW, PER_BEND, PER_INTERVAL, VALUE
from relu_regions.network.steps import AffineStep, GateStep

__all__ = ["Certainty", "largest"]


class Certainty:
    """Carries the bounds of a stack of points through the steps of a network.

    The bounds lie in ``points.errors``, ``(P,)`` each: for every value, ``shift``, and what rounding did to the stored
    ``position`` and ``weight``. Doubt is marked in ``points.uncertain``, ``(S,)``.

    Args:
        network: the network walked.
        dtype: of the walk.

    Attributes:
        chains: those of the network whose bounds a backend can carry by itself, with the norms that it needs.
    """

    def __init__(self, network: Network, dtype: torch.dtype) -> None:
        # Equal units bend at one point, which a chain does not see to.
        self.has_equal_rows = bool(equal_everywhere(network))
        network = folded(network)
        self.unit, self.tiny = torch.finfo(dtype).eps / 2, torch.finfo(dtype).tiny
        self.equal = EqualNumbers.of(network)
        self._tables: dict[tuple[str, torch.device], TieTables] = {}
        gates = (step for step in network.steps if isinstance(step, GateStep))
        self.compares_zeros = any(self.equal.becomes_zero(step.inputs[0]) for step in gates)
        self.norms = {s.output: StepNorms.of(network, s, dtype) for s in network.steps if isinstance(s, AffineStep)}
        self.chains = self._of_chains(chains(network))

    @classmethod
    def of(cls, network: Network, dtype: torch.dtype) -> Certainty:
        """The one that carries the bounds of a network, made once."""
        return network.derived((cls, dtype), lambda: cls(network, dtype))

    def _of_chains(self, chains: tuple[Chain, ...]) -> tuple[Chain, ...]:
        if self.compares_zeros or self.has_equal_rows:
            return ()
        result = []
        for chain in chains:
            if chain.name not in self.equal.copies and chain.name not in self.equal.zeros:
                norms = (self.norms[link.step.output] for link in chain.links)
                result.append(chain.with_norms([(n.gain, n.bias, n.rounding, n.floor) for n in norms]))
        return tuple(result)

    def affine(self, step: AffineStep, values: dict[str, Tensor], errors: dict[str, Tensor]) -> None:
        """The bound of an affine step's output, from those of its inputs."""
        norms = self.norms[step.output]
        error = _largest_of([errors[name] for name in step.inputs])
        if step.output in self.equal.copies and step.bias is None:
            errors[step.output] = error  # it only moves numbers about
            return
        size = _largest_of([largest(values[name]) for name in step.inputs])
        made = norms.rounding * (norms.gain * (size + error) + norms.bias) + norms.floor
        errors[step.output] = norms.gain * error + made

    def start(
        self,
        at_x: dict[str, Tensor],
        errors: dict[str, Tensor],
        along: dict[str, Tensor],
        errors_along: dict[str, Tensor],
        starts: Starts,
    ) -> dict[str, Tensor]:
        """The bounds at the starts ``weight * x + position * d``, from those of the values at x and along d.

        Args:
            at_x, errors: values at the x of all lines and their bounds, ``(L, *shape)`` and ``(L,)`` each.
            along, errors_along: the same for their d.
        """
        line, reach, bounds = starts.line, starts.position.abs(), {}
        weight = torch.ones_like(reach) if starts.weight is None else starts.weight
        # What is near its point is within 8 roundings of it.
        rounded = starts.rounded.to(reach)
        room, near = VALUE + 16 * rounded, 8 * self.unit * rounded
        for name, error in errors.items():
            here = torch.stack([error, largest(at_x[name]) + error])
            there = torch.stack([errors_along[name], largest(along[name]) + errors_along[name]])
            error, size = here[:, line] + reach * there[:, line]
            bounds[name] = error + room * self.unit * size + 4 * self.tiny
        bounds |= {"shift": torch.zeros_like(reach), "position": near * reach}
        return bounds if starts.weight is None else bounds | {"weight": near * weight}

    def finished(self, points: Points) -> None:
        """Mark the segments in doubt that have points so close that their bounds underflow.

        Shifts and the rounding of positions are at least a unit roundoff of the interval beside them.
        """
        close = (points.position.diff().abs() < self.tiny / self.unit) & points.starts_interval[:-1]
        self._doubt(points, close.nonzero()[:, 0])

    def gate(
        self, gate: Gate, points: Points, name: str, inputs: Tensor, placed: Placement, ties: AnyTies | None = None
    ) -> Shifts:
        """Mark the segments in which the gate's decisions are in doubt, before the new points are inserted.

        Segments that are in doubt already stay so, without further tests.

        Args:
            ties: what is equal on these lines; None for what is equal on all lines.
        """
        error, size = beside(points.errors[name]), largest(inputs) if placed.extremes is None else placed.extremes[0]
        if isinstance(gate, Knots):
            shifts = self._knots(gate, points, name, error, inputs, size, placed, ties)
        else:
            assert not isinstance(ties, FormTies)  # these go with ReLUs alone
            shifts = self._selection(gate, points, name, error, inputs, size, placed, ties)
        self._doubt(points, placed.crossings.row[~(placed.inside & torch.isfinite(placed.crossings.rise))])
        return shifts

    def _knots(
        self,
        gate: Knots,
        points: Points,
        name: str,
        error: Tensor,
        inputs: Tensor,
        size: Tensor,
        placed: Placement,
        ties: AnyTies | None,
    ) -> Shifts:
        level = torch.zeros_like(error)
        if gate.sizes.knot > 0:
            level = self._level(gate.sizes.knot, points, size)
        shifts = self._shifts(points, error + level, size, placed)
        if points.uncertain.all():
            return shifts
        zeros, shares = self._zeros(name, inputs), self._shares(points)
        for knot in gate.knots:
            distance, bound, known, asked = inputs, error, zeros, None
            if gate.sizes.knot == 0 and placed.extremes is not None:
                most, least, _ = placed.extremes
                asked = near_zero(most, least, error, *shares)
            if gate.sizes.knot > 0 and knot.any():
                distance = inputs - (knot if points.weight is None else knot * points.weight[:, None])
                bound, known = error + level, None
            rows = kernel_for(inputs.device).rows_in_doubt(distance, bound, *shares, known, asked)
            self._doubt(points, rows if ties is None else still_open(ties, rows, distance, bound, *shares, known))
        if zeros is not None:
            self._doubt(points, self._fading(inputs, zeros, placed))
        same = partial(self._copies_cross, gate, name, placed, ties)
        self._doubt(points, shifts.out_of_order(placed, same))
        return shifts

    def _copies_cross(self, gate: Knots, name: str, placed: Placement, ties: AnyTies | None, bends: Tensor) -> Tensor:
        """Whether some crossings are of the same numbers as those before them, ``(B,)`` bool."""
        if isinstance(ties, FormTies):
            return ties.crossing_ids[bends] == ties.crossing_ids[bends - 1]
        copied = ties is not None or name in self.equal.copies
        if not copied or (gate.sizes.knot > 0 and gate.knots.shape[1] > 1):
            return torch.zeros_like(bends, dtype=torch.bool)
        unit, knot = placed.crossings.unit, torch.maximum(placed.crossings.before, placed.crossings.after)
        if ties is None:
            source = self.equal.copies[name].to(unit.device)[unit]
        else:
            source = ties.ids(placed.crossings.row, unit[:, None])[:, 0]
        if gate.sizes.knot == 0:
            source = source.abs()
        return (source[bends] == source[bends - 1]) & (knot[bends] == knot[bends - 1])

    def _selection(
        self,
        gate: Maximum | OrderStatistic,
        points: Points,
        name: str,
        error: Tensor,
        inputs: Tensor,
        size: Tensor,
        placed: Placement,
        ties: Ties | None,
    ) -> Shifts:
        shifts, row = self._shifts(points, 2 * error, size, placed), placed.crossings.row
        if points.uncertain.all():
            return shifts
        if ties is None:
            ties = Ties.all_alike(self._everywhere(name, gate, inputs.device), len(inputs))
        zeros = self._zeros(name, inputs)
        if zeros is None:
            zeros = torch.zeros(inputs.shape[1], dtype=torch.bool, device=inputs.device)
        else:
            self._doubt(points, self._fading(inputs, zeros, placed))
        kernel, shares = kernel_for(inputs.device), self._shares(points)
        starts = points.starts_interval & ~points.uncertain.repeat_interleave(points.offsets.diff())
        least = nearest_rival(gate, inputs) if isinstance(gate, OrderStatistic) else None
        if placed.leads is not None:
            # Of zeros, which tie, none is a rival.
            least = placed.leads[0 if zeros.all() else 1]
        asked = starts
        if least is not None:
            # Between two rows without a rival none is looked for.
            near = near_zero(2 * size, least, 2 * error, *shares)
            asked = starts & (near | torch.cat([near[1:], near[:1]]))
        self._doubt(points, kernel.leads_in_doubt(gate, inputs, ties, zeros, 2 * error, *shares, asked))
        difference = 2 * torch.maximum(error[row], error[row + 1])
        self._doubt(points, rivals_in_doubt(gate, ties, zeros, inputs, placed, difference, shifts.relative))
        same = partial(coincident, gate, ties, zeros, inputs, placed)
        self._doubt(points, shifts.out_of_order(placed, same))
        if isinstance(gate, OrderStatistic):
            self._doubt(points, passing_in_doubt(gate, ties, zeros, inputs, placed, starts))
        return shifts

    def _everywhere(self, name: str, gate: Gate, device: torch.device) -> TieTables:
        """What is equal on all lines of what a gate reads."""
        if (name, device) not in self._tables:
            self._tables[name, device] = TieTables.everywhere(self.equal.sources(name).to(device), gate)
        return self._tables[name, device]

    def _zeros(self, name: str, like: Tensor) -> Tensor | None:
        zeros = self.equal.zeros.get(name)
        return None if zeros is None else zeros.to(like.device)

    def _fading(self, inputs: Tensor, zeros: Tensor, placed: Placement) -> Tensor:
        """The rows with a number so small that one interpolated between it and 0 could round to 0."""
        if placed.extremes is not None and not (placed.extremes[2] < math.sqrt(self.tiny)).any():
            return placed.row[:0]
        return kernel_for(inputs.device).fading(inputs, zeros, math.sqrt(self.tiny))

    def _shares(self, points: Points) -> tuple[Tensor, Tensor]:
        """How far each row's bend may be shifted, relative to the interval before it and to the one after it."""
        gap = points.position.diff().abs() - 2 * torch.maximum(
            points.errors["position"][1:], points.errors["position"][:-1]
        )
        shift = points.errors["shift"]
        # The last row of a segment has no interval after it, the first none before.
        after, before = shift.clone(), shift.clone()
        after[:-1], before[1:] = shift[:-1] / gap.clamp_min(0), shift[1:] / gap.clamp_min(0)
        after[~points.starts_interval], before[points.offsets[:-1]] = 0.0, 0.0
        after[shift == 0], before[shift == 0] = 0.0, 0.0
        return before, after

    def _level(self, largest: float, points: Points, size: Tensor) -> Tensor:
        """What taking the distance from a knot adds to the error."""
        level = VALUE * self.unit * (size + largest)
        return level if points.weight is None else level + largest * points.errors["weight"]

    def _shifts(self, points: Points, error: Tensor, size: Tensor, placed: Placement) -> Shifts:
        """How far each bend may be from the true one, from a bound of the error of what is 0 there."""
        row = placed.crossings.row
        # A rise within its error says nothing; the signs at its ends are in doubt then.
        relative = _of_interval(error)[row] / placed.crossings.rise.abs() + CROSSING * self.unit
        return Shifts(relative, relative * points.position.diff().abs()[row], size)

    def inserted(self, points: Points, name: str, placed: Placement, shifts: Shifts) -> dict[str, Tensor]:
        """All bounds once the new points are there; ``name`` is the value that bends at them."""
        if self.compares_zeros:
            # What is interpolated between 0 and another number must not round to 0.
            self._doubt(points, placed.row[torch.minimum(placed.left, placed.right) < math.sqrt(self.tiny)])
        own = torch.zeros_like(placed.left)
        new = (placed.crossing_row - placed.crossings.row - 1)[placed.inside]
        own = own.scatter_reduce(0, new, shifts.absolute[placed.inside], "amax")
        sizes = {key: largest(value) for key, value in points.values.items() if key != name}
        sizes |= {name: shifts.size, "position": points.position.abs()}
        if points.weight is not None:
            sizes["weight"] = points.weight
        bounds = {key: self._mixed(size, points.errors[key], placed) for key, size in sizes.items()}
        return bounds | {"shift": _spread(points.errors["shift"], own, placed)}

    def cut(self, points: Points, placed: Placement) -> dict[str, Tensor]:
        """All bounds once new points between the bends are there."""
        name, none = next(iter(points.values)), placed.left[:0]
        return self.inserted(points, name, placed, Shifts(none, none, largest(points.values[name])))

    def _mixed(self, size: Tensor, error: Tensor, placed: Placement) -> Tensor:
        new = _of_interval(error) + NEW_ROW * self.unit * _of_interval(size + error)
        return _spread(error, new[placed.row], placed)

    def applied(self, gate: Gate, error: Tensor, outputs: Tensor, placed: Placement, shifts: Shifts) -> Tensor:
        """The bound of a gate's output, from that of its input.

        Args:
            error: of the gate's input at all points.
            outputs: of the gate at all points.
        """
        if isinstance(gate, Selection):
            made = 128 * self.unit * _of_interval(shifts.size)[placed.row]
            return error + _spread(torch.zeros_like(shifts.size), made, placed)
        if gate.is_relu:
            return error
        return gate.sizes.slope * error + VALUE * self.unit * (largest(outputs) + gate.sizes.offset)

    def multiplied(self, gate: Gate, step: AffineStep, error: Tensor, placed: Placement, shifts: Shifts) -> Tensor:
        """The bound of the output of a matrix or a convolution where only the gate's output goes into it.

        At the points there were it is a product. At the new points of an interval with c bends it goes on from the
        point before with a running slope, and in exact arithmetic that gives the product of a gate that is continuous,
        has its value at both ends of the interval, and bends where the crossings were computed, by the kinks that were
        computed.

        Such a gate is that of the curve but for what rounds the numbers of a crossing: its weights (4 u each, relative
        to themselves) and its kink (5 u). The kinks of a unit with knots add up to no more than ``kinks``, each knot
        being crossed once; those of a maximum do since they are all positive and lead from one input's slope to
        another's. (Crossings of a maximum that rounding would put in another order, or that leave an input above it,
        are in doubt.)

        Every value, slope, and sum of the parts that kinks add to slopes stays below ``reach``. Each bend and each new
        point loses at most u of it: in the first slope, in the running one, and in the value. What is relative to kinks
        or steps adds up over an interval to u of it for each of some 24 roundings. Twice these 3 c + 24 are taken. An
        output number of a convolution sees the bends of its own inputs alone, which are no more.

        Args:
            error: of the gate's input at all points.
        """
        norms, sizes, size = self.norms[step.output], gate.sizes, shifts.size
        size = torch.cat([torch.maximum(size[:-1], size[1:]), size[-1:]])
        product = norms.gain * (sizes.slope * size + sizes.offset) + norms.bias
        kinks = 2 * sizes.turn * (size + sizes.knot)
        reach = 2 * product + norms.gain * kinks
        made = norms.rounding * product + norms.floor
        carried = (
            (PER_BEND * torch.bincount(placed.crossings.row, minlength=len(size)).to(reach) + PER_INTERVAL)
            * self.unit
            * reach
        )
        return norms.gain * sizes.slope * error + _spread(made, (made + carried)[placed.row], placed)

    def _doubt(self, points: Points, rows: Tensor) -> None:
        points.uncertain[torch.bucketize(rows, points.offsets[1:], right=True)] = True


def _of_interval(numbers: Tensor) -> Tensor:
    """The larger of the numbers at the two ends of the interval that starts at each row but the last."""
    return torch.maximum(numbers[1:], numbers[:-1])


def _largest_of(numbers: list[Tensor]) -> Tensor:
    """The largest number of several at each place."""
    return numbers[0] if len(numbers) == 1 else torch.stack(numbers).amax(0)


def _spread(old: Tensor, new: Tensor, placed: Placement) -> Tensor:
    """A number for each row, from those of the rows there were and of the new ones."""
    result = old.new_empty(len(placed))
    result[placed.old_rows], result[placed.new_rows] = old, new
    return result


def largest(value: Tensor) -> Tensor:
    return kernel_for(value.device).largest(value)
