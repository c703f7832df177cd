"""Stretches of segments as they come from a sweep, put together to Paths."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from relu_regions.backends.memory import Growing, room
from relu_regions.backends.points import Flips, Points
from relu_regions.lines.line_batch import LineBatch
from relu_regions.paths.paths import Paths

__all__ = ["Collected"]


class Collected:
    """Stretches of segments, put in their places as they come and in order at the end."""

    def __init__(self, lines: LineBatch) -> None:
        self.lines = lines
        self.segments: list[Tensor] = []
        self.counts: list[Tensor] = []
        self.seams: list[Tensor] = []
        self.position, self.weight, self.values, self.errors = Growing(), Growing(), Growing(), Growing()
        self.flips = {field.name: Growing() for field in fields(Flips)}
        self.count = 0
        gates, device = lines.network.gates, lines.x.device
        self.first = [room((len(lines), step.units), torch.int64, device) for step in gates]
        self.last = [room((len(lines), step.units), torch.int32, device) for step in gates]
        self.uncertain = torch.zeros(len(lines), dtype=torch.bool, device=device)
        self.begun = torch.zeros_like(self.uncertain)
        self.outputs_at_x = lines.x.new_zeros(len(lines), *lines.network.output_shape)
        self.in_order, self.latest = True, -1

    def add(self, points: Points, halfway: bool) -> None:
        """Take in a finished stack.

        Args:
            halfway: whether more may come of its segments.
        """
        output = self.lines.network.output_name
        points = points.at_bends(output) if points.at_x is None else points
        assert points.at_x is not None
        passing, outputs = points.at_x
        self.outputs_at_x[points.segments[passing]] = outputs
        self.segments.append(points.segments)
        self.counts.append(points.offsets.diff())
        self._keep_patterns(points, halfway)
        done = (self.latest + 1) / len(self.lines)
        self.position.add(points.position, done)
        if points.weight is not None:
            self.weight.add(points.weight, done)
        self.values.add(points.values[output], done)
        if points.errors:
            self.errors.add(_t_error(points), done)
        self._keep(points.flips if self.count == 0 else replace(points.flips, row=points.flips.row + self.count))
        self.count += len(points)

    def _keep_patterns(self, points: Points, halfway: bool) -> None:
        """The patterns at the ends of a stack's segments, and what they say of the bends between two stretches."""
        first, last = int(points.segments[0]), int(points.segments[-1])
        self.in_order &= first > self.latest
        self.latest = max(self.latest, last)
        # Neighbours can be written as a whole.
        segments = slice(first, last + 1) if last - first + 1 == len(points.segments) else points.segments
        self.uncertain[segments] |= points.uncertain
        follows = self.begun[segments]
        if follows.any():
            self._join(points, follows)
        elif len(points.segments) == len(self.lines):
            self.first = [points.first[gate] for gate in range(len(self.first))]
        else:
            for gate, pieces in points.first.items():
                self.first[gate][segments] = pieces
        if halfway:
            for gate, pieces in points.last.items():
                self.last[gate][segments] = pieces.to(torch.int32)
        self.begun[segments] = True

    def _join(self, points: Points, follows: Tensor) -> None:
        """Where a stretch goes on from an earlier one, the shared point bends by what the two patterns differ in."""
        rows = points.offsets[:-1] + self.count
        self.seams.append(rows[follows])
        for gate, first in points.first.items():
            own = follows & (points.cut_before <= gate)
            segment, unit = (own[:, None] & (self.last[gate][points.segments] != first)).nonzero(as_tuple=True)
            before, after = self.last[gate][points.segments[segment], unit].long(), first[segment, unit]
            self._keep(Flips.of_gate(gate, rows[segment], unit, before, after))
            fresh = ~follows
            self.first[gate][points.segments[fresh]] = first[fresh]

    def _keep(self, flips: Flips) -> None:
        for name, part in self.flips.items():
            part.add(getattr(flips, name), (self.latest + 1) / len(self.lines))

    def paths(self) -> Paths:
        """Everything in order of segment and t."""
        lines, self.last = self.lines, []
        nothing = self.begun.new_zeros(0, dtype=torch.int64)
        segments, counts = (torch.cat(part) if part else nothing for part in (self.segments, self.counts))
        flips = Flips(**{name: part.whole(nothing) for name, part in self.flips.items()})
        none = lines.x.new_zeros(0)
        parts = [part.whole(none) for part in (self.position, self.values, self.weight, self.errors)]
        if self.seams or not self.in_order:
            segment = segments.repeat_interleave(counts)
            rows, flips = self._arranged(segment, flips)
            counts = torch.bincount(segment[rows], minlength=len(lines))
            parts = [part[rows] if len(part) else part for part in parts]
        position, values, weight, errors = parts
        bounded = len(errors) == len(position) > 0
        return Paths(
            network=lines.network,
            x=lines.x,
            d=lines.d,
            offsets=torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
            position=position,
            weight=weight if len(weight) else None,
            values=values.view(-1, *lines.network.output_shape),
            outputs_at_x=self.outputs_at_x,
            first_patterns=tuple(self.first),
            flips=flips,
            t_error=errors if bounded else None,
            certain=~self.uncertain if bounded else torch.zeros_like(self.uncertain),
            settled=torch.zeros_like(self.uncertain),
            judged=torch.zeros_like(self.uncertain),
            digits=torch.zeros_like(self.uncertain),
        )

    def _arranged(self, segment: Tensor, flips: Flips) -> tuple[Tensor, Flips]:
        """The rows to keep, in order of segment and t, and the flips, with the places of their rows among these.

        A seam stands twice, as the last row of one stretch and the first of the next: the first row goes, and the other
        one too if nothing flips there.

        Args:
            segment: of each row, in the order in which stretches came.
        """
        seam = torch.zeros(self.count, dtype=torch.bool, device=segment.device)
        if self.seams:
            seam[torch.cat(self.seams)] = True
        order = torch.argsort(segment, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(self.count, device=segment.device)
        flips = replace(flips, row=place[flips.row] - seam[flips.row].long()).ordered()
        segment, seam = segment[order], seam[order]
        kept = torch.zeros(self.count, dtype=torch.bool, device=segment.device)
        kept[flips.row] = True
        edge = segment.diff() != 0
        kept[1:] |= edge
        kept[:-1] |= edge
        kept[:1], kept[-1:] = True, True
        kept &= ~seam
        return order[kept], replace(flips, row=(kept.cumsum(0) - 1)[flips.row])


def _t_error(points: Points) -> Tensor:
    """A bound of how far each t is from the true one; 0 at the ends of a range, which are given."""
    rounding, shift = points.errors["position"], points.errors["shift"]
    unit = torch.finfo(rounding.dtype).eps
    given = (shift == 0) & (rounding == 0)
    if points.weight is None:
        return torch.where(given, 0.0, (rounding + shift) * (1 + 8 * unit))
    # On a ray t = position / weight and weight = 1 - |position|.
    weight, away = points.weight, rounding + shift
    stored = points.errors["weight"]
    room, left = weight - away - stored, weight - stored
    t = points.position / weight
    error = away / (weight * room) + (rounding + t.abs() * stored) / left + unit * t.abs()
    return torch.where(given, 0.0, torch.where(room > 0, error * (1 + 16 * unit), torch.inf))
