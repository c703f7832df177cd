"""The inner loops in plain torch, for every device: what the fused kernels must agree with."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.backends.crossings import Changes, Crossings, find_bends
from relu_regions.backends.placement import Placement
from relu_regions.backends.ties import Ties
from relu_regions.network.gates import Gate, Maximum, OrderStatistic, Selection, flattened
from relu_regions.network.steps import AffineStep

__all__ = [
    "bend",
    "bend_and_multiply",
    "equalise",
    "exits",
    "fading",
    "insert",
    "largest",
    "leads_in_doubt",
    "multiplied",
    "place",
    "placed",
    "rows_in_doubt",
    "through",
    "workspace",
]

# Gates and matrices of a chain are taken one by one.
through = None


def place(
    gate: Gate,
    inputs: Tensor,
    position: Tensor,
    weight: Tensor | None,
    starts_interval: Tensor,
    record: bool,
    leads: bool = False,
    ties: Ties | None = None,
) -> Placement:
    """Find the bends of a gate and where they come to lie.

    Args:
        gate: which gate.
        inputs: its flattened input at the points, ``(P, inputs)``.
        position, weight: of the points, ``(P,)``; weight None where all are 1.
        starts_interval: False at the last point of each segment, ``(P,)`` bool.
        record: whether changes of piece at the points there are matter too.
        leads: whether a maximum's smallest leads are of use; a backend need not find them.
        ties: which inputs are equal by construction, for these leads; None for none.
    """
    column = None if weight is None else weight[:, None]
    crossings, changes = find_bends(gate, inputs, column, starts_interval, record)
    return placed(crossings, changes, position, weight, isinstance(gate, Selection))


def workspace(gate: Gate, units: int, inputs: int, multiplied: bool) -> int:
    """Numbers for each point that finding bends and applying the gate takes at its peak, besides its input.

    Args:
        units, inputs: of the gate, its outputs and the numbers it reads.
        multiplied: whether bend_and_multiply comes next.
    """
    return gate.workspace(units)


def placed(
    crossings: Crossings, changes: Changes, position: Tensor, weight: Tensor | None, in_turn: bool = False
) -> Placement:
    """Where crossings come to lie, given in the order in which equal ones stay.

    Args:
        in_turn: whether those of one unit in one interval are given in the order of t, which rounding must not undo.
    """
    t = position if weight is None else position / weight
    at = crossings.left * position[crossings.row] + crossings.right * position[crossings.row + 1]
    if weight is not None:
        at = at / (crossings.left * weight[crossings.row] + crossings.right * weight[crossings.row + 1])
    here, there = t[crossings.row], t[crossings.row + 1]
    at = torch.minimum(torch.maximum(at, here), there)
    if in_turn:
        at = _never_before_the_last(crossings, at)
    order = torch.argsort(at, stable=True)
    order = order[torch.argsort(crossings.row[order], stable=True)]
    crossings, at, here, there = crossings[order], at[order], here[order], there[order]
    inside = (at != here) & (at != there)
    opens = inside.clone()
    opens[1:] &= ~inside[:-1] | (crossings.row[1:] != crossings.row[:-1]) | (at[1:] != at[:-1])
    added = torch.bincount(crossings.row[opens], minlength=len(position))
    before = added.cumsum(0) - added + torch.arange(len(position), device=added.device)
    crossing_row = before[crossings.row + (~inside & (at != here)).long()]
    crossing_row = torch.where(inside, crossings.row + opens.cumsum(0), crossing_row)
    return Placement(
        crossings.row[opens],
        crossings.left[opens],
        crossings.right[opens],
        added,
        crossings,
        crossing_row,
        inside,
        changes,
    )


def _never_before_the_last(crossings: Crossings, at: Tensor) -> Tensor:
    """The t of each crossing, or that of an earlier one of its unit and interval that rounding put behind it."""
    if not len(at):
        return at
    unit = crossings.row * (crossings.unit.max() + 1) + crossings.unit
    order = torch.argsort(unit, stable=True)
    follows, later = unit[order].diff() == 0, at[order]
    while (undone := follows & (later[1:] < later[:-1])).any():
        later[1:] = torch.where(undone, later[:-1], later[1:])
    return torch.empty_like(at).index_copy_(0, order, later)


def insert(values: Tensor, placement: Placement) -> Tensor:
    """The values at all points, new ones interpolated: ``(P, *shape)`` to ``(P + G, *shape)``."""
    column = (-1, *[1] * (values.ndim - 1))
    result = values.new_empty(len(placement), *values.shape[1:])
    result[placement.old_rows] = values
    left = values[placement.row] * placement.left.view(column)
    result[placement.new_rows] = left + values[placement.row + 1] * placement.right.view(column)
    return result


def bend(gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement) -> Tensor:
    """The gate's output at all points.

    Args:
        gate: which gate.
        inputs: its flattened input at the points there were, ``(P, inputs)``.
        weight: of all points with the new ones, ``(P + G,)``; None where all are 1.
        placement: of the gate's own bends.
    """
    inputs = insert(inputs, placement)
    outputs = gate.apply(inputs, None if weight is None else weight[:, None])
    inside, crossings = placement.inside, placement.crossings
    gate.put_on_knots(
        placement.crossing_row[inside],
        crossings.unit[inside],
        crossings.before[inside],
        crossings.after[inside],
        outputs,
        weight,
    )
    return outputs


def bend_and_multiply(
    gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement, step: AffineStep
) -> Tensor:
    """The output at all points of a step with a form that alone reads the gate's output; arguments as bend.

    A backend need not multiply at the new points: there the output goes on from the point before, and at each bend its
    slope changes by the bend's kink times a column of the step.
    """
    return multiplied(bend(gate, inputs, weight, placement), weight, step)


def multiplied(values: Tensor, weight: Tensor | None, step: AffineStep) -> Tensor:
    """A step with a form, for a stack of its flattened input, ``(points, inputs)``; weight ``(points,)`` as bend."""
    if step.form is None:
        raise ValueError(f"{step.origin} has no form that says what it reads")
    return step(values.view(len(values), *step.form.inputs), weight=weight)


def rows_in_doubt(
    distance: Tensor,
    bound: Tensor,
    before: Tensor,
    after: Tensor,
    zeros: Tensor | None = None,
    asked: Tensor | None = None,
) -> Tensor:
    """The rows at which some unit is nearer to its knot than the bounds allow for, ``(K,)`` int64.

    Args:
        distance: of every unit from its knot, ``(P, units)``.
        bound: of the distance's error at each row, ``(P,)``.
        before, after: shares of the change of distance over the interval before and after the row that add to it,
            ``(P,)``.
        zeros: the units whose distance is known to be 0 where it is computed to be, ``(units,)`` bool; None for no
            unit.
        asked: the rows that are asked about, ``(P,)`` bool; None for all.
    """
    size = distance.abs()
    change = distance.diff(dim=0).abs()
    if zeros is not None:
        size[(size == 0) & zeros] = torch.inf
    # Asked in this way, what overflowed to NaN is in doubt.
    doubt = ~(size > bound[:, None]).all(1)
    doubt[:-1] |= ~(size[:-1] > bound[:-1, None] + after[:-1, None] * change).all(1)
    doubt[1:] |= ~(size[1:] > bound[1:, None] + before[1:, None] * change).all(1)
    return (doubt if asked is None else doubt & asked).nonzero()[:, 0]


def leads_in_doubt(
    gate: Maximum | OrderStatistic,
    values: Tensor,
    ties: Ties,
    zeros: Tensor,
    bound: Tensor,
    before: Tensor,
    after: Tensor,
    starts_interval: Tensor,
) -> Tensor:
    """The rows at which the winner of some window, just inside an interval, is not certain, ``(K,)`` int64.

    Args:
        values: the gate's inputs at the points, ``(P, inputs)``.
        ties: which inputs are one number at each row. Which of several that are so at one end of an interval alone
            leads beside it is decided at the other end.
        zeros: the inputs that are known to be 0 where they are computed to be, ``(inputs,)`` bool. Which of several
            zeros leads beside a point is decided at the interval's other end.
        bound: of the error of a difference of two inputs at each row, ``(P,)``.
        before, after: as rows_in_doubt, of the change of that difference.
        starts_interval: as place, and False where the winners need not be asked about.
    """
    given = _Leads(gate, values, ties, zeros, bound, before, after)
    doubt = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    block = max(1, _BLOCK_NUMBERS // max(1, gate.windows.numel()))
    for start in range(0, len(values) - 1, block):
        at = torch.arange(start, min(start + block, len(values) - 1), device=values.device)
        at = at[starts_interval[at]]
        for here, there in ((at, at + 1), (at + 1, at)):
            open_here, open_there = given.open_beside(here, there)
            doubt[here] |= open_here
            doubt[there] |= open_there
    return doubt.nonzero()[:, 0]


# Numbers of one temporary tensor while windows are compared.
_BLOCK_NUMBERS = 1 << 22


class _Leads(NamedTuple):
    """What leads_in_doubt is asked about."""

    gate: Maximum | OrderStatistic
    values: Tensor
    ties: Ties
    zeros: Tensor
    bound: Tensor
    before: Tensor
    after: Tensor

    def open_beside(self, here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the winner just inside of intervals is open, decided at the rows ``here`` and at the other ends."""
        gate, values = self.gate, self.values
        winner = gate.pieces_beside(values[here], values[there]).unsqueeze(-1)
        known = self.zeros[gate.windows]
        tied, throughout = ((gate.candidates(values[rows]) == 0) & known for rows in (here, there))
        tied, throughout = (both & both.gather(-1, winner) for both in (tied, throughout))
        tied, throughout = tied | self._equal(here, winner), throughout | self._equal(there, winner)
        open_here = (~tied & self._open_at(here, winner)).flatten(1).any(1)
        return open_here, (tied & ~throughout & self._open_at(there, winner)).flatten(1).any(1)

    def _equal(self, rows: Tensor, winner: Tensor) -> Tensor:
        """Whether inputs are equal to their winner at some rows by construction, ``(R, units, k)``."""
        tables = self.ties.tables
        ids = tables.alike[self.ties.table[rows][:, None, None], tables.column[self.gate.windows]]
        return ids == ids.gather(-1, winner)

    def _open_at(self, rows: Tensor, winner: Tensor) -> Tensor:
        """Whether the winner's lead over each input of its window is open at some rows, ``(R, units, k)``.

        An order statistic has inputs above it too.
        """
        lead = self._leads(rows, winner)
        size = lead if isinstance(self.gate, Maximum) else lead.abs()
        allowed, column = self.bound[rows, None, None], (-1, 1, 1)
        certain = size > allowed
        last = len(self.values) - 1
        for share, beside in ((self.after, (rows + 1).clamp_max(last)), (self.before, (rows - 1).clamp_min(0))):
            certain &= size > allowed + share[rows].view(column) * (self._leads(beside, winner) - lead).abs()
        return ~certain

    def _leads(self, rows: Tensor, winner: Tensor) -> Tensor:
        candidates = self.gate.candidates(self.values[rows])
        return candidates.gather(-1, winner) - candidates


def equalise(values: Tensor, ties: Ties) -> None:
    """Make numbers equal that are so by construction, however they were rounded, ``(P, numbers)``; in place."""
    tables, (front, channels, places) = ties.tables, ties.tables.channels
    values = values[:, front:].view(len(values), channels, places)
    for table in torch.unique(ties.table[tables.offsets.diff()[ties.table] > 0]).tolist():
        (rows,) = (ties.table == table).nonzero(as_tuple=True)
        own = slice(int(tables.offsets[table]), int(tables.offsets[table + 1]))
        source = tables.source[own]
        made = values[rows[:, None], :, source.clamp_min(0)].masked_fill((source < 0)[:, None], 0.0)
        values[rows[:, None], :, tables.target[own]] = made


def fading(values: Tensor, zeros: Tensor, least: float) -> Tensor:
    """The rows with a number that is not 0 but smaller than ``least``, ``(K,)`` int64.

    Args:
        values: ``(P, numbers)``.
        zeros: the numbers that matter, ``(numbers,)`` bool.
    """
    return ((values != 0) & (values.abs() < least) & zeros).any(1).nonzero()[:, 0]


def largest(values: Tensor) -> Tensor:
    """The largest absolute number of each row, ``(P,)``; 0 for rows without numbers."""
    flat = flattened(values)
    return flat.abs().amax(1) if flat.shape[1] else flat.new_zeros(len(flat))


def exits(logits: Tensor, offsets: Tensor, label: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """Where segments first leave a class, and whether rounding leaves that in doubt.

    Args:
        logits: that compete, ``(P, k)``.
        offsets: the points of segment i are rows ``offsets[i]`` to ``offsets[i + 1]``, ``(S + 1,)`` int64.
        label: position of each segment's class among the logits, ``(S,)`` int64.
        error: bound of the error of a difference of two logits at each point, ``(P,)``.

    Returns:
        The first row where another logit is larger, P for none, ``(S,)`` int64; and whether up to there one is within
        the bound of the class's, ``(S,)`` bool.
    """
    counts = offsets.diff()
    segment = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    column = label[segment][:, None]
    lead = (logits.gather(1, column) - logits).scatter(1, column, torch.inf)
    lost = (lead < 0).any(1).nonzero()[:, 0]
    first = torch.full_like(label, len(logits)).scatter_reduce(0, segment[lost], lost, "amin")
    near = ~(lead.abs() > error[:, None]).all(1) & (torch.arange(len(logits), device=counts.device) <= first[segment])
    close = torch.zeros_like(label, dtype=torch.bool)
    close[segment[near]] = True
    return first, close
