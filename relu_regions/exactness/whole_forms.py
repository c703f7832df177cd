"""Networks of ReLUs whose numbers are affine forms of the input with few bits, such as lattices of minima and maxima.

On an interval on which all pieces are known, every number of a network is an affine form of the input. Where weights
are 1, -1 and 1/2, as where a minimum is made of ReLUs, min(a, b) = (r(a + b) - r(-a - b) - r(a - b) - r(b - a)) / 2,
float64 holds the coefficients of these forms and computes them without rounding. Then two minima that are the same
input on some interval have the same form there, their difference is the form 0, and units whose forms are multiples of
one another bend at one point: this is decided exactly, and rounding does not see it.

Forms go along with the points of a walk, one for each interval; `FormTies` says what they tell of a gate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from relu_regions.backends import Placement
from relu_regions.backends.crossings import Crossings
from relu_regions.backends.points import Points
from relu_regions.backends.reference import placed as placed_at
from relu_regions.backends.ties import Ties
from relu_regions.network.gates import Knots
from relu_regions.network.network import Network
from relu_regions.network.plan import folded
from relu_regions.network.steps import AffineStep, Convolution

__all__ = ["CAUSE", "AnyTies", "FormTies", "WholeForms", "inserted", "ties_of_forms"]

# Whole numbers up to this are kept: twice as many as a sum of two of them needs.
_MOST = 2.0**51
_MOST_INPUTS, _MOST_ENTRIES = 16, 1 << 18
# Among the forms that go along: that of the unit that bends at each point, as whole numbers without a common factor.
CAUSE = "the unit that bends"


class _Size(NamedTuple):
    """Coefficients that are multiples of ``2 ** grid``, up to ``largest``."""

    grid: int
    largest: float

    @property
    def fits(self) -> bool:
        """Whether float64 adds up such numbers without rounding."""
        return self.grid > -500 and self.largest < 2.0**500 and self.largest * 2.0**-self.grid <= _MOST


@dataclass(frozen=True)
class WholeForms:
    """The affine steps of a network up to its last gate, as maps of forms.

    Attributes:
        inputs: how many numbers a point has; a form has a coefficient for each of them, and a constant.
        matrices: for each step a matrix for each value that it reads, ``(numbers, outputs)``.
        biases: of the steps, ``(outputs,)``, where there are any.
        grids: by the value that a gate reads, the g of which ``2 ** g`` divides all coefficients.
    """

    inputs: int
    matrices: dict[str, tuple[Tensor, ...]]
    biases: dict[str, Tensor]
    grids: dict[str, int]

    @classmethod
    def of(cls, network: Network) -> WholeForms | None:
        """None where forms may not be exact, or where they would be large; made once."""
        kept: tuple[WholeForms | None] = network.derived("whole forms", lambda: (cls._of(network),))
        return kept[0]

    @classmethod
    def _of(cls, network: Network) -> WholeForms | None:
        relus = all(isinstance(step.gate, Knots) and step.gate.is_relu for step in network.gates)
        inputs = math.prod(network.input_shape)
        if len(network.gates) < 2 or not relus or inputs > _MOST_INPUTS or folded(network) is not network:
            return None
        found, sizes = cls(inputs, {}, {}, {}), {network.input_name: _Size(0, 1.0)}
        for step in network.steps[: max(network.gate_numbers)]:
            if not isinstance(step, AffineStep):
                sizes[step.output] = sizes[step.inputs[0]]
                continue
            size = found._add(step, [network.shapes[name] for name in step.inputs], [sizes[n] for n in step.inputs])
            if size is None or not size.fits:
                return None
            sizes[step.output] = size
        found.grids.update({step.inputs[0]: sizes[step.inputs[0]].grid for step in network.gates})
        return found

    def _add(self, step: AffineStep, shapes: list[tuple[int, ...]], sizes: list[_Size]) -> _Size | None:
        """Keep a step and say of what size its forms are; None where a coefficient may not be what it seems."""
        counts = [math.prod(shape) for shape in shapes]
        numbers = [*step.constants, *([] if step.bias is None else [step.bias])]
        if isinstance(step.form, Convolution) or not all(bool(torch.isfinite(number).all()) for number in numbers):
            return None
        if not 0 < min(counts) * math.prod(step.shape) <= max(counts) * math.prod(step.shape) <= _MOST_ENTRIES:
            return None
        matrices, ones = [], [torch.ones_like(constant, dtype=torch.float64) for constant in step.constants]
        for number, count in enumerate(counts):
            parts = [torch.zeros(count, *shape, dtype=torch.float64) for shape in shapes]
            parts[number] = torch.eye(count, dtype=torch.float64).view(count, *shapes[number])
            # A coefficient is one constant, or 1: not a sum of some, nor a number such as 1/3 that hides in a mean.
            paths = step.function(*parts, *(one.cpu() for one in ones))
            if not bool(((paths == 0) | (paths == 1)).all()):
                return None
            made = step.function(*parts, *(constant.cpu().double() for constant in step.constants))
            matrices.append(made.reshape(count, -1))
        self.matrices[step.output] = tuple(matrices)
        added = torch.zeros(1, dtype=torch.float64)
        if step.bias is not None:
            added = step.bias.cpu().double().expand(1, *step.shape).reshape(-1)
            self.biases[step.output] = added
        grids = [_grid(matrix) + size.grid for matrix, size in zip(matrices, sizes)]
        most = sum(float(matrix.abs().sum(0).max()) * size.largest for matrix, size in zip(matrices, sizes))
        return _Size(min([*grids, _grid(added)]), most + float(added.abs().max()))

    def start(self, points: Points, network: Network, step: int) -> dict[str, Tensor]:
        """The forms of the values at a stack's rows before the first gate, and no cause.

        Args:
            step: the number of the first gate.
        """
        own = torch.eye(self.inputs + 1, self.inputs, dtype=torch.float64)[None]
        forms = {network.input_name: own}
        for affine in network.steps[:step]:
            assert isinstance(affine, AffineStep)
            forms[affine.output] = self.affine(affine, forms)
        kept = {name: form.expand(len(points), -1, -1) for name, form in forms.items() if name in points.values}
        return kept | {CAUSE: torch.zeros(len(points), self.inputs + 1, dtype=torch.int64)}

    def affine(self, step: AffineStep, forms: dict[str, Tensor]) -> Tensor:
        """What a step makes of forms ``(P, inputs + 1, numbers)``: exact, as sums stay below 2 ** 53 of their grid."""
        parts = [forms[name] @ matrix for matrix, name in zip(self.matrices[step.output], step.inputs)]
        made = parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)
        if step.output in self.biases:
            made[:, -1] += self.biases[step.output]
        return made

    def through(self, step: AffineStep, points: Points) -> None:
        """Take the forms of a stack through an affine step, as far as a gate comes after it."""
        if step.output in self.matrices:
            points.forms[step.output] = self.affine(step, points.forms)
        points.forms = {name: form for name, form in points.forms.items() if name in points.values or name == CAUSE}


def inserted(points: Points, placed: Placement) -> dict[str, Tensor]:
    """The forms of a stack once new points are there; no cause is known of these."""
    if not points.forms:
        return {}
    # The intervals that start at new points are parts of those that these lie in, and nothing bends there yet.
    parent = torch.arange(len(points)).repeat_interleave(1 + placed.added)
    forms = {name: form[parent] for name, form in points.forms.items()}
    forms[CAUSE][placed.new_rows] = 0
    return forms


def _grid(numbers: Tensor) -> int:
    """The largest g of which 2 ** g divides all of some numbers."""
    mantissa, exponent = np.frexp(numbers[numbers != 0].numpy())
    if not len(mantissa):
        return 0
    whole = (mantissa * 2.0**53).astype(np.int64)
    lowest = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    return int((exponent - 53 + lowest).min())


@dataclass(frozen=True)
class FormTies:
    """What forms tell of the numbers that a gate with knots at 0 reads.

    Attributes:
        forms: on the interval that starts at each row, ``(P, inputs + 1, numbers)``.
        grid: of their coefficients.
        zero: the numbers that are 0 at the true point of each row, ``(P, numbers)`` bool.
        crossing_forms: those of the units that bend, once crossings are gathered, as `primitive` has them.
        crossing_ids: equal for crossings of one interval whose forms are multiples of one another, ``(K,)`` int64.
        crossing_moves: how far from 0 the unit's curve is where its crossing has moved to, ``(K,)``; empty if none has.
    """

    forms: Tensor
    grid: int
    zero: Tensor
    crossing_forms: Tensor
    crossing_ids: Tensor
    crossing_moves: Tensor

    def has_zeros(self, rows: Tensor) -> Tensor:
        """Which rows have numbers that are 0, ``(R,)`` bool."""
        return self.zero[rows].any(1)

    def zeros(self, rows: Tensor) -> Tensor:
        """The numbers that are 0 at some rows, ``(R, numbers)`` bool."""
        return self.zero[rows]

    def primitive(self, row: Tensor, number: Tensor) -> Tensor:
        """Some forms as whole numbers without a common factor, the first of them positive, ``(K, inputs + 1)`` int64.

        Those of two forms are equal if and only if the forms are multiples of one another.
        """
        whole = (self.forms[row, :, number] * 2.0**-self.grid).long()
        factor = whole[:, 0]
        for column in whole.T[1:]:
            factor = torch.gcd(factor, column)
        lead = whole.gather(1, (whole != 0).to(torch.uint8).argmax(1, keepdim=True))
        return whole // (factor.abs().clamp_min(1)[:, None] * torch.where(lead < 0, -1, 1))

    def gathered(self, found: Placement, points: Points, inputs: Tensor) -> tuple[Placement, FormTies]:
        """Crossings of one interval whose forms are multiples of one another lie at one place.

        Args:
            inputs: of the gate, ``(P, numbers)``.
        """
        crossings, units = found.crossings, self.zero.shape[1]
        forms = self.primitive(crossings.row, crossings.unit)
        leader = self._leaders(crossings, forms)
        if bool((crossings.left == crossings.left[leader]).all() & (crossings.right == crossings.right[leader]).all()):
            return found, replace(self, crossing_forms=forms, crossing_ids=leader)
        row, unit = crossings.row, crossings.unit
        off = crossings.left[leader] * inputs[row, unit] + crossings.right[leader] * inputs[row + 1, unit]
        off = off.abs() * (1 + 2.0**-50) + 2.0**-50 * (inputs[row, unit].abs() + inputs[row + 1, unit].abs())
        moved = replace(crossings, left=crossings.left[leader], right=crossings.right[leader])
        # Those of one place one after another: sorting by place keeps that.
        moved = moved[torch.argsort(leader, stable=True)]
        made = placed_at(moved, found.changes, points.position, points.weight)
        # A ReLU crosses an interval once.
        keys, wanted = (part.row * units + part.unit for part in (crossings, made.crossings))
        keys, order = keys.sort()
        place = order[torch.searchsorted(keys, wanted)]
        off = torch.where(leader == torch.arange(len(leader)), 0.0, off)[place]
        ties = replace(self, crossing_forms=forms[place], crossing_ids=leader[place], crossing_moves=off)
        return replace(made, extremes=found.extremes), ties

    def _leaders(self, crossings: Crossings, forms: Tensor) -> Tensor:
        """For each crossing the steepest of those of its interval whose forms are multiples of its own, ``(K,)``.

        The steepest one's place is within its own bound of the true one, and so within those of the others.
        """
        own = torch.arange(len(forms))
        key = torch.cat([forms, crossings.row[:, None]], 1)
        factors = torch.randint(1 << 62, (key.shape[1],), generator=torch.Generator().manual_seed(0))
        steepest = torch.argsort(-crossings.rise.abs(), stable=True)
        group = torch.unique((key[steepest] * factors).sum(1), return_inverse=True)[1]
        first = torch.full_like(own, len(own)).scatter_reduce(0, group, own, "amin")[group]
        leader = torch.empty_like(own).scatter(0, steepest, steepest[first])
        # Sums of products that are equal by chance are told apart.
        return torch.where((key == key[leader]).all(1), leader, own)

    def note_bends(self, points: Points, name: str, found: Placement) -> None:
        """Keep with the new points, once they are there, the forms of the units that bend at them.

        A unit whose crossing has moved is put on 0 at another place than where its curve is 0: by what the curve is
        there the bound of the error grows.
        """
        inside = found.inside.nonzero()[:, 0]
        chosen = torch.zeros(len(found.row), dtype=torch.int64)
        chosen[found.crossing_row[inside] - found.crossings.row[inside] - 1] = inside
        points.forms[CAUSE][found.new_rows] = self.crossing_forms[chosen]
        if len(self.crossing_moves):
            error, row = points.errors[name], found.crossing_row
            points.errors[name] = error.scatter_reduce(0, row, error[row] + self.crossing_moves, "amax")


AnyTies = Ties | FormTies


def ties_of_forms(whole: WholeForms, points: Points, name: str, inputs: Tensor) -> FormTies:
    """What forms tell of a gate's inputs, ``(P, numbers)``; those that are 0 become so, however they were rounded.

    At the true point of a row a number is 0 if its form is 0 on an interval beside it, or has the zero of the unit that
    bends there. Only numbers that may be 0 are asked about. By as much as one of them is changed, the bound of the
    row's error grows.
    """
    starts, error, none = points.starts_interval, points.errors[name], torch.zeros(0, dtype=torch.int64)
    close = inputs.abs() <= 2.0**-26 * inputs.abs().amax(1, keepdim=True) + error[:, None]
    ties = FormTies(points.forms[name], whole.grids[name], torch.zeros_like(close), none, none, error[:0])
    row, number = close.nonzero(as_tuple=True)
    if not len(row):
        return ties
    # The interval that starts at a row, and the one that ends there.
    beside, row, number = torch.cat([row, row - 1]), row.repeat(2), number.repeat(2)
    inside = (beside >= 0) & starts[beside.clamp_min(0)]
    beside, row, number = beside[inside], row[inside], number[inside]
    linear, constant = ties.forms[beside, :-1, number], ties.forms[beside, -1, number]
    if points.weight is not None:
        # At infinity there are no biases.
        constant = constant.masked_fill(points.weight[row] == 0, 0.0)
    zero = ~linear.any(1) & (constant == 0)
    bends = points.forms[CAUSE][row]
    (asked,) = (~zero & bends.any(1)).nonzero(as_tuple=True)
    zero[asked] = (ties.primitive(beside[asked], number[asked]) == bends[asked]).all(1)
    row, number = row[zero], number[zero]
    points.errors[name] = error.scatter_reduce(0, row, error[row] + inputs[row, number].abs(), "amax")
    inputs[row, number] = 0.0
    ties.zero[row, number] = True
    return ties
