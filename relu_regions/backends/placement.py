"""Where the bends of a gate come to lie among the points of a stack: what every kernel answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from relu_regions.backends.crossings import Changes, Crossings

__all__ = ["Placement"]


@dataclass(frozen=True)
class Placement:
    """New points for a stack of P points, and the crossings that they are made for.

    Crossings of one interval at the same t become one new point; a crossing whose t rounds to an end of its interval
    belongs to the point there.

    Attributes:
        row: the interval that each new point lies in, ``(G,)`` int64, in order.
        left, right: weights of the interval's two ends at each new point, ``(G,)``.
        added: how many new points each interval gets, ``(P,)`` int64; 0 for the last point of a segment.
        crossings: of the gate, in order of interval and t.
        crossing_row: the row of each crossing's point once the new ones are inserted, ``(K,)`` int64.
        inside: whether a crossing has a new point, ``(K,)`` bool; else it belongs to an end of its interval.
        changes: units that change their piece exactly at a point there was; empty where nobody asked.
        extremes: of the gate's input at each point the largest absolute number, the smallest, and the smallest but 0
            (NaN where there is none), ``(3, P)``; None where the backend did not look.
        outputs: of the gate at the points there were, ``(P, units)``; None where they were not needed to find the
            bends.
        leads: by how much the winner of a maximum leads every other input of its window at least, at each point:
            over the units whose inputs are not all 0, and over all units, ``(2, P)``; None where nobody asked. What is
            equal to the winner by construction is no rival.
    """

    row: Tensor
    left: Tensor
    right: Tensor
    added: Tensor
    crossings: Crossings
    crossing_row: Tensor
    inside: Tensor
    changes: Changes
    extremes: Tensor | None = None
    outputs: Tensor | None = None
    leads: Tensor | None = None

    @classmethod
    def without_crossings(cls, row: Tensor, left: Tensor, right: Tensor, points: int) -> Placement:
        """New points for a stack of so many where nothing crossings, at most one in an interval."""
        added = torch.bincount(row, minlength=points)
        crossings = Crossings(row[:0], row[:0], left[:0], right[:0], left[:0], row[:0], row[:0])
        return cls(row, left, right, added, crossings, row[:0], row[:0].bool(), Changes.none(row.device))

    @cached_property
    def old_rows(self) -> Tensor:
        """The rows that the points there were come to lie in, ``(P,)`` int64."""
        return torch.arange(self.added.shape[0], device=self.added.device) + self.first_new

    @cached_property
    def new_rows(self) -> Tensor:
        """The rows of the new points, ``(G,)`` int64."""
        return self.row + torch.arange(1, self.row.shape[0] + 1, device=self.row.device)

    @cached_property
    def first_new(self) -> Tensor:
        """How many new points lie before each point there was, ``(P,)`` int64."""
        return self.added.cumsum(0) - self.added

    def __len__(self) -> int:
        return self.added.shape[0] + self.row.shape[0]
