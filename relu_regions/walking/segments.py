"""The lines of a batch, each as a segment or two that a sweep starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from relu_regions.exactness.meeting_points import Meetings
from relu_regions.exactness.starts import Starts

__all__ = ["Segments"]


@dataclass(frozen=True)
class Segments:
    """The lines ``x + t d`` of a batch, each with the points that its sweep starts from.

    Attributes:
        x, d: ``(L, *input_shape)``.
        starts: ``(N, k)`` values of t in increasing order, from k = 2; may be infinite at either end. Equal
            neighbours count once.
        both_ways: whether each line has two segments, one after the other: along d, and along -d.
        meetings: of the lines, if starts are at these.
    """

    x: Tensor
    d: Tensor
    starts: Tensor
    both_ways: bool = False
    meetings: Meetings | None = None

    def __len__(self) -> int:
        return self.starts.shape[0]

    def with_ties(self, meetings: Meetings | None) -> Segments:
        """The same with starts wherever more may tie than around it: at t = 1, and where patches of an image meet."""
        t, starts = torch.ones(len(self.x), 1, dtype=torch.float64, device=self.starts.device), self.starts
        if meetings is not None:
            t = torch.cat([t, meetings.by_line.to(t)], 1)
        if self.both_ways:
            t = torch.stack([t, -t], 1).flatten(0, 1)
        t, high = t.to(starts.dtype), starts[:, -1:]
        t = torch.where((t > starts[:, :1]) & (t < high), t, high)
        return replace(self, starts=torch.cat([starts, t], 1).sort(dim=1).values, meetings=meetings)

    @cached_property
    def _unbounded(self) -> bool:
        return bool(torch.isinf(self.starts).any())

    def starts_of(self, first: int, stop: int) -> Starts:
        """What the segments from one to another start from."""
        t = self.starts[first:stop]
        distinct = torch.nn.functional.pad(t[:, 1:] > t[:, :-1], (1, 0), value=True)
        segment, position = distinct.nonzero()[:, 0], t[distinct]
        t, weight, rounded = position, None, torch.zeros_like(position, dtype=torch.bool)
        if self._unbounded:
            position, weight = self._on_rays(first + segment, position)
            rounded = (weight != 1) & (weight != 0.5) & (weight != 0)
        lines, line, along_d = slice(first, stop), segment, position
        if self.both_ways:
            lines, number = slice(first // 2, (stop + 1) // 2), segment + first
            line = number // 2 - first // 2
            along_d, t = (torch.where(number % 2 == 0, part, -part) for part in (position, t))
        counts = distinct.sum(1)
        starts = Starts(
            x=self.x[lines],
            d=self.d[lines],
            line=line,
            position=position,
            along_d=along_d,
            weight=weight,
            offsets=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
            t=t,
            rounded=rounded,
            meetings=None if self.meetings is None else self.meetings.of(lines.start, min(lines.stop, len(self.x))),
        )
        found, number = starts.is_meeting
        if starts.meetings is None or not found.any():
            return starts
        return replace(starts, rounded=rounded | (found & ~starts.meetings.exact.to(line.device)[number]))

    def _on_rays(self, segment: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Position and weight of points of segments, ``(P,)`` each: towards an infinite end they add up to 1."""
        ends = self.starts[segment]
        towards = torch.isinf(torch.where(t > 0, ends[:, -1], ends[:, 0]))
        finite = torch.isfinite(t)
        weight = torch.where(finite & towards, 1 / (1 + t.abs()), finite.to(t.dtype))
        position = torch.where(finite, torch.where(towards, t * weight, t), t.sign())
        return position, weight
