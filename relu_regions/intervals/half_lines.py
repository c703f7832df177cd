"""Half-lines from x, each followed until the class changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from relu_regions.backends import kernel_for
from relu_regions.backends.points import Points
from relu_regions.exactness.can_tie import can_tie
from relu_regions.exactness.error_bounds import Certainty
from relu_regions.exactness.meeting_points import meeting_points
from relu_regions.exactness.shifts import beside
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import LineBatch
from relu_regions.walking.segments import Segments
from relu_regions.walking.sweep import Sweep

__all__ = ["HalfLine", "half_lines"]


@dataclass
class HalfLine:
    """What was found going from x; all ``(M,)``, one for each half-line.

    Attributes:
        end: how far the class of x holds.
        error: a bound of how far the end is from the true one.
        label: the class of x.
        beyond: the class just beyond the end, -1 where the range ends first.
        tied: whether classes tie at x.
        doubt: whether rounding may have decided any of this.
        points: how many points were looked at.
    """

    end: Tensor
    error: Tensor
    label: Tensor
    beyond: Tensor
    tied: Tensor
    doubt: Tensor
    points: Tensor

    def __getitem__(self, chosen: slice) -> HalfLine:
        return HalfLine(*(getattr(self, field.name)[chosen] for field in fields(self)))


def half_lines(
    lines: LineBatch,
    decision: Decision,
    memory_budget: int | None,
    certainty: Certainty | None,
    done: Callable[[int], None] = lambda lines: None,
) -> tuple[HalfLine, HalfLine]:
    """Follow lines from x both ways until the label changes; each half leaves the sweep there.

    Args:
        decision: between the classes that compete.
        done: told how many lines are.

    Returns:
        What was found along d, and along -d.
    """
    end = torch.stack([lines.high, -lines.low], 1).flatten()
    none = torch.zeros(len(end), dtype=torch.int64, device=end.device)
    found = HalfLine(end.clone(), torch.zeros_like(end), none, none - 1, none.bool(), none.bool(), none.clone())
    # Where the range ends at x: a short segment whose bounds don't underflow.
    limits = torch.finfo(lines.x.dtype)
    reach = torch.where(end == 0, 4 * limits.tiny / limits.eps, end)
    starts = torch.stack([torch.zeros_like(end), reach], 1).to(lines.x.dtype)
    reached = torch.zeros_like(found.tied)
    segments = Segments(lines.x, lines.d, starts, both_ways=True)
    if certainty is not None and can_tie(lines.network):
        segments = segments.with_ties(meeting_points(lines.network, lines.x, lines.d))
    sweep = Sweep(lines.network, segments, False, memory_budget, window=64, certainty=certainty)
    with sweep.surroundings():
        for points in sweep:
            # Lines before the first half here are complete; each has two.
            done(int(points.segments[0]) // 2)
            outputs = points.values[lines.network.output_name]
            fresh = ~reached[points.segments]
            opening, rows = points.segments[fresh], points.offsets[:-1][fresh]
            found.label[opening], found.tied[opening] = decision.labels(outputs[rows]), decision.ties(outputs[rows])
            reached[opening] = True
            found.points[points.segments] += points.offsets.diff()
            error = points.errors.get(lines.network.output_name, torch.zeros_like(points.position))
            sweep.drop(_record_exits(points, outputs, decision, 2 * beside(error), found))
        done(len(lines))
    _end_at_x(found, end == 0)
    return found[0::2], found[1::2]


def _end_at_x(found: HalfLine, at_x: Tensor) -> None:
    """Where the range ends at x there is nothing to find: what is true of x itself, the other half knows too.

    Args:
        at_x: which halves end there, ``(M,)`` bool; two in a row are of one line.
    """
    found.end[at_x], found.beyond[at_x], found.error[at_x] = 0.0, -1, 0.0
    other = torch.arange(len(at_x), device=at_x.device) ^ 1
    here = (at_x & ~at_x[other]).nonzero()[:, 0]
    for part in (found.label, found.tied, found.doubt):
        part[here] = part[other[here]]


def _record_exits(points: Points, outputs: Tensor, decision: Decision, error: Tensor, found: HalfLine) -> Tensor:
    """Note where segments first leave the class of x, and where rounding leaves that in doubt; gives these segments.

    Args:
        outputs: at the points, ``(P, outputs)``.
        error: bound of the error of a difference of two logits beside each point, ``(P,)``.
    """
    logits, label = decision.logits(outputs), decision.places(found.label[points.segments])
    first, close = kernel_for(logits.device).exits(logits, points.offsets, label, error)
    gone = first < len(points)
    found.doubt[points.segments] |= points.uncertain | close
    if gone.any():
        _record_ends(points, outputs, decision, error, first[gone], points.segments[gone], found)
    return points.segments[gone]


def _record_ends(
    points: Points, outputs: Tensor, decision: Decision, error: Tensor, row: Tensor, numbers: Tensor, found: HalfLine
) -> None:
    """Note where a rival of the label overtakes it, between the points before ``row`` and at it."""
    before, at = (decision.leads(outputs[rows], found.label[numbers]) for rows in (row - 1, row))
    here, there = before.clamp_min(0), -at
    # here / there grows with the place of the crossing, and late crossings do not all round to 1.
    lateness = torch.where(there > 0, here / there, torch.inf)
    soonest = (lateness == lateness.amin(1, keepdim=True)) & (there > 0)
    winner = decision.logits(outputs[row]).masked_fill(~soonest, -torch.inf).argmax(1)
    chosen = winner[:, None]
    right = torch.where(there > 0, here / (here + there), torch.inf)
    unit = torch.finfo(right.dtype).eps
    bound = torch.maximum(error[row], error[row - 1])[:, None]
    shift = torch.where(there > 0, bound / (here + there), 0.0) + 8 * unit
    # Another rival whose crossing may come first leaves the class beyond in doubt, and the end too.
    others = (right - shift).scatter(1, chosen, torch.inf)
    found.doubt[numbers] |= (others <= (right + shift).gather(1, chosen)).any(1)
    here, there, shift = (side.gather(1, chosen)[:, 0] for side in (here, there, shift))
    found.end[numbers] = points.between(row - 1, there / (here + there), here / (here + there)).double()
    found.error[numbers] = _end_error(points, row, shift, found.end[numbers]).double()
    found.beyond[numbers] = decision.named(winner)


def _end_error(points: Points, row: Tensor, shift: Tensor, end: Tensor) -> Tensor:
    """A bound of how far an end between the points before ``row`` and at it is from the true one."""
    if not points.errors:
        return torch.zeros_like(shift)
    unit = torch.finfo(shift.dtype).eps
    stored = torch.maximum(points.errors["position"][row], points.errors["position"][row - 1])
    away = shift * (points.position[row] - points.position[row - 1]).abs() + stored
    if points.weight is None:
        return (away + 4 * unit * end.abs()) * (1 + 8 * unit)
    # On a ray t = position / weight and weight = 1 - |position| = 1 / (1 + |t|).
    weight = 1 / (1 + end.abs())
    lost = torch.maximum(points.errors["weight"][row], points.errors["weight"][row - 1])
    room = weight - away - lost
    error = away / (weight * room) + (stored + end.abs() * lost) / room + 4 * unit * end.abs()
    return torch.where(room > 0, error * (1 + 16 * unit), torch.inf)
