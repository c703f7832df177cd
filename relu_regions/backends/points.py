"""A ragged stack of points: the segments' points one after another, with the values of the network there."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Flips", "Passed", "Points"]


@dataclass(frozen=True)
class Flips:
    """Units that change their piece at a point, each ``(F,)`` int64: row of the point, gate, unit, pieces."""

    row: Tensor
    gate: Tensor
    unit: Tensor
    before: Tensor
    after: Tensor

    @classmethod
    def none(cls, device: torch.device) -> Flips:
        """No flips."""
        return cls(*[torch.zeros(0, dtype=torch.int64, device=device)] * 5)

    @classmethod
    def of_gate(cls, gate: int, row: Tensor, unit: Tensor, before: Tensor, after: Tensor) -> Flips:
        """Flips of one gate."""
        return cls(row, torch.full_like(row, gate), unit, before, after)

    @classmethod
    def joined(cls, several: list[Flips]) -> Flips:
        """All of several lists of flips."""
        return cls(*(torch.cat([getattr(flips, f.name) for flips in several]) for f in fields(cls)))

    def __getitem__(self, chosen: Tensor) -> Flips:
        return Flips(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def ordered(self) -> Flips:
        """By row, gate and unit; several flips of one unit at one point are made one, and dropped if they cancel."""
        if not self.row.numel():
            return self
        # One number orders them all; gates and units are few enough for the product to stay below 2^63.
        key = (self.row * (self.gate.max() + 1) + self.gate) * (self.unit.max() + 1) + self.unit
        if (key[1:] > key[:-1]).all():
            return self
        flips = self[torch.argsort(key, stable=True)]
        while True:
            again = torch.zeros_like(flips.row, dtype=torch.bool)
            again[1:] = (
                (flips.row[1:] == flips.row[:-1])
                & (flips.gate[1:] == flips.gate[:-1])
                & (flips.unit[1:] == flips.unit[:-1])
            )
            if not again.any():
                return flips[flips.before != flips.after]
            flips = flips._second_of_each_joined_to_its_first(again)

    def _second_of_each_joined_to_its_first(self, again: Tensor) -> Flips:
        """One round of making several flips of a unit one; ``again`` says which flips repeat the one before."""
        second = again.clone()
        second[1:] &= ~again[:-1]
        at = second.nonzero()[:, 0]
        first, then = self[at - 1], self[at]
        # Crossings of several knots at one t come in the order of the knots, whichever way the unit goes.
        turned = (then.after == first.before) & (first.after != then.before)
        before, after = self.before.clone(), self.after.clone()
        before[at - 1] = torch.where(turned, then.before, first.before)
        after[at - 1] = torch.where(turned, first.after, then.after)
        return replace(self, before=before, after=after)[~second]


@dataclass
class Points:
    """Points on several segments, with the values that later steps of the network need.

    A point lies at ``weight * x + position * d``: at ``t = position / weight``, and at infinity where weight is 0.

    Attributes:
        segments: which segments, ``(S,)`` int64.
        offsets: the points of segment i are rows ``offsets[i]`` to ``offsets[i + 1]``, ``(S + 1,)`` int64.
        position: ``(P,)``; t itself where weight is None.
        weight: ``(P,)``, or None where all are 1.
        values: by name, ``(P, *shape)``.
        step: the next step of the network.
        flips: changes of piece at these points.
        first, last: for each gate passed since the start, or since the cut that made this end, the pieces just
            inside the first and the last point, ``(S, units)``; by gate.
        uncertain: whether rounding may have decided something on the segment, ``(S,)`` bool.
        errors: bounds of the rounding error at each point, ``(P,)`` for each value, position and weight; empty where
            nobody asked.
        at_x: where points at which nothing bends have been left out, which of the segments pass x, and the network's
            output
            there: ``(A,)`` int64 and ``(A, *shape)``; None before.
        cut_before: the gate that each segment's first point was made before, by a cut, ``(S,)`` int64; 0 for an end
            of the range.
        forms: what is known of the interval that starts at each point, ``(P, ...)`` by name; empty where nobody asked.
    """

    segments: Tensor
    offsets: Tensor
    position: Tensor
    weight: Tensor | None
    values: dict[str, Tensor]
    step: int
    flips: Flips
    cut_before: Tensor
    uncertain: Tensor
    errors: dict[str, Tensor] = field(default_factory=dict)
    first: dict[int, Tensor] = field(default_factory=dict)
    last: dict[int, Tensor] = field(default_factory=dict)
    at_x: tuple[Tensor, Tensor] | None = None
    forms: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.position.shape[0]

    @property
    def t(self) -> Tensor:
        """``(P,)``; infinite where weight is 0."""
        return self.position if self.weight is None else self.position / self.weight

    @property
    def starts_interval(self) -> Tensor:
        """Whether an interval starts at the point: all but the last of each segment."""
        starts = torch.ones(len(self), dtype=torch.bool, device=self.offsets.device)
        starts[self.offsets[1:] - 1] = False
        return starts

    @property
    def bytes(self) -> int:
        """Memory that the values, the pieces at the ends and the flips hold."""
        held = [*self.values.values(), *self.first.values(), *self.last.values(), *vars(self.flips).values()]
        held += self.forms.values()
        return sum(numbers.numel() * numbers.element_size() for numbers in held)

    def between(self, row: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """t at ``left * point[row] + right * point[row + 1]``, never outside of the two; each ``(K,)``."""
        t = self.t
        position = left * self.position[row] + right * self.position[row + 1]
        if self.weight is not None:
            position = position / (left * self.weight[row] + right * self.weight[row + 1])
        return torch.minimum(torch.maximum(position, t[row]), t[row + 1])

    def weight_column(self) -> Tensor | None:
        """The weights as ``(P, 1)``."""
        return None if self.weight is None else self.weight[:, None]

    def rows(self, chosen: Tensor) -> dict[str, Tensor]:
        """The values at some rows."""
        return {name: value[chosen] for name, value in self.values.items()}

    def at_bends(self, output: str) -> Points:
        """The points where something flips and both ends of each segment, with the flips in order.

        Args:
            output: name of the network's output, which the points have come to.
        """
        flips = self.flips.ordered()
        kept = torch.zeros(len(self), dtype=torch.bool, device=self.offsets.device)
        kept[flips.row], kept[self.offsets[:-1]], kept[self.offsets[1:] - 1] = True, True, True
        rows, place = kept.nonzero()[:, 0], _offsets(kept)
        at_x = (self.position == 0).nonzero()[:, 0]
        return replace(
            self,
            offsets=place[self.offsets],
            position=self.position[rows],
            weight=None if self.weight is None else self.weight[rows],
            values={output: self.values[output][rows]},
            errors={name: error[rows] for name, error in self.errors.items() if name != output},
            forms={},
            flips=replace(flips, row=place[flips.row]),
            at_x=(torch.bucketize(at_x, self.offsets[1:], right=True), self.values[output][at_x]),
        )

    def only(self, kept: Tensor) -> Points:
        """Some of the segments, ``kept`` a ``(S,)`` bool mask."""
        counts = self.offsets.diff()
        rows = kept.repeat_interleave(counts)
        renumbered = rows.cumsum(0) - 1
        flips = self.flips[rows[self.flips.row]]
        return replace(
            self,
            segments=self.segments[kept],
            offsets=_offsets(counts[kept]),
            position=self.position[rows],
            weight=None if self.weight is None else self.weight[rows],
            values={name: value[rows] for name, value in self.values.items()},
            errors={name: error[rows] for name, error in self.errors.items()},
            forms={name: form[rows] for name, form in self.forms.items()},
            flips=replace(flips, row=renumbered[flips.row]),
            cut_before=self.cut_before[kept],
            uncertain=self.uncertain[kept],
            first={gate: pieces[kept] for gate, pieces in self.first.items()},
            last={gate: pieces[kept] for gate, pieces in self.last.items()},
        )

    def cut(self, intervals: Tensor, gate: int) -> tuple[Points, Points]:
        """Cut every segment after its first so many intervals; both parts keep the point in between.

        Args:
            intervals: at least 1 for each segment, ``(S,)``; one with no more intervals goes to the first part whole.
            gate: the gate that comes next.
        """
        end = torch.minimum(intervals, self.offsets.diff() - 1)
        return self.stretch(torch.zeros_like(end), end, gate), self.stretch(end, self.offsets.diff() - 1, gate)

    def stretch(self, start: Tensor, end: Tensor, gate: int) -> Points:
        """A stretch of each segment, from one of its points to another; segments for which these are one are left out.

        Flips at a point that two stretches share stay with the earlier one.

        Args:
            start, end: places of the points among those of their segment, ``(S,)`` int64.
            gate: the gate that comes next.
        """
        counts, kept = self.offsets.diff(), end > start
        place = torch.arange(len(self), device=counts.device) - self.offsets[:-1].repeat_interleave(counts)
        lower, upper = start.repeat_interleave(counts), torch.where(kept, end, -1).repeat_interleave(counts)
        rows, at = (place >= lower) & (place <= upper), self.flips.row
        own = rows[at] & ((place[at] > lower[at]) | (lower[at] == 0))
        part = self._restricted(rows, torch.where(kept, end - start + 1, 0), at, own)
        part = replace(part, cut_before=torch.where(start > 0, gate, self.cut_before))
        return part if kept.all() else part.only(kept)

    def _restricted(self, rows: Tensor, counts: Tensor, flip_rows: Tensor, flips_kept: Tensor) -> Points:
        renumbered = rows.cumsum(0) - 1
        flips = self.flips[flips_kept]
        return replace(
            self,
            offsets=_offsets(counts),
            position=self.position[rows],
            weight=None if self.weight is None else self.weight[rows],
            values={name: value[rows] for name, value in self.values.items()},
            errors={name: error[rows] for name, error in self.errors.items()},
            forms={name: form[rows] for name, form in self.forms.items()},
            uncertain=self.uncertain.clone(),
            flips=replace(flips, row=renumbered[flips.row]),
            first=dict(self.first),
            last=dict(self.last),
        )


class Passed(NamedTuple):
    """Points that a chain has taken to its end.

    Attributes:
        each: bytes that a segment took on its way, at most.
    """

    points: Points
    each: float


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
