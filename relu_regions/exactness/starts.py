"""The points that a sweep's segments start from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from relu_regions.exactness.meeting_points import Meetings

__all__ = ["Starts"]


@dataclass(frozen=True)
class Starts:
    """The points that some segments start from, at ``weight * x + position * d`` of their line.

    Attributes:
        x, d: of all their lines, ``(L, *input_shape)``.
        line: of each point, among these, ``(P,)`` int64.
        position: ``(P,)``, in the direction of the segment.
        along_d: the same in the direction of d.
        weight: ``(P,)``, or None where all are 1.
        offsets: of the segments among the points, ``(S + 1,)`` int64.
        t: of each point, in the direction of d, ``(P,)``; infinite where weight is 0.
        rounded: whether position and weight are only near those of the point, ``(P,)`` bool.
        meetings: of the lines; some of the points are at these.
    """

    x: Tensor
    d: Tensor
    line: Tensor
    position: Tensor
    along_d: Tensor
    weight: Tensor | None
    offsets: Tensor
    t: Tensor
    rounded: Tensor
    meetings: Meetings | None = None

    def of(self, at_x: Tensor, along: Tensor) -> Tensor:
        """A value at the points, ``(P, *shape)``, from that of an affine map at x and, without its bias, along d."""
        base, column = at_x.index_select(0, self.line), (-1, *[1] * (at_x.ndim - 1))
        if self.weight is not None:
            base = base.mul_(self.weight.view(column))
        return base.addcmul_(self.along_d.view(column), along.index_select(0, self.line))

    @property
    def is_meeting(self) -> tuple[Tensor, Tensor]:
        """Which points are at meetings, ``(P,)`` bool, and the number of each one's, ``(P,)`` int64."""
        if self.meetings is None or not len(self.meetings.t):
            nothing = self.line.new_zeros(len(self.line))
            return nothing.bool(), nothing
        found, place = (self.meetings.by_line.to(self.t.device)[self.line] == self.t.double()[:, None]).max(1)
        begun = torch.tensor(self.meetings.offsets[:-1], device=self.t.device)[self.line]
        number = (begun + place).clamp_max(len(self.meetings.t) - 1)
        # A point that was asked for, or where more ties, is where it is, not at a meeting that rounds to it.
        given = (self.t == 0) | (self.t == 1)
        given[self.offsets[:-1]], given[self.offsets[1:] - 1] = True, True
        return found & (self.meetings.exact.to(self.t.device)[number] | ~given), number
