"""Going outwards from x until the class changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from relu_regions.certainty import Certainty, beside
from relu_regions.kernels import kernel_for
from relu_regions.lines import LineBatch
from relu_regions.points import Points
from relu_regions.segments import Segments
from relu_regions.sweep import Sweep

__all__ = ["HalfLine", "competing_classes", "competing_logits", "outward"]


@dataclass
class HalfLine:
    """What was found going from x; all ``(M,)``, one for each half-line.

    Attributes:
        end: how far the class of x holds.
        error: a bound of how far the end is from the true one.
        label: the class of x, a position among the logits that compete until all is found.
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


def outward(
    lines: LineBatch, classes: Tensor, memory_budget: int | None, certainty: Certainty | None
) -> tuple[HalfLine, HalfLine]:
    """Follow lines from x both ways until the label changes; each half leaves the sweep there.

    Args:
        classes: positions of the logits that compete.

    Returns:
        What was found along d, and along -d.
    """
    end = torch.stack([lines.high, -lines.low], 1).flatten()
    none = torch.zeros(len(end), dtype=torch.int64, device=end.device)
    found = HalfLine(end.clone(), torch.zeros_like(end), none, none - 1, none.bool(), none.bool(), none.clone())
    # Where there is nothing to walk, a segment that is as good as none.
    reach = torch.where(end == 0, torch.finfo(lines.x.dtype).tiny, end)
    starts = torch.stack([torch.zeros_like(end), reach], 1).to(lines.x.dtype)
    reached = torch.zeros_like(found.tied)
    segments = Segments(lines.x, lines.d, starts, both_ways=True)
    sweep = Sweep(lines.network, segments, False, memory_budget, window=64, certainty=certainty)
    with sweep.surroundings():
        for points in sweep:
            logits = competing_logits(points.values[lines.network.output_name], classes)
            fresh = ~reached[points.segments]
            opening, rows = points.segments[fresh], points.offsets[:-1][fresh]
            found.label[opening] = logits[rows].argmax(1)
            found.tied[opening] = (logits[rows] == logits[rows].amax(1, keepdim=True)).sum(1) > 1
            reached[opening] = True
            found.points[points.segments] += points.offsets.diff()
            error = points.errors.get(lines.network.output_name, torch.zeros_like(points.position))
            sweep.drop(_record_exits(points, logits, 2 * beside(error), found))
    one_sided = end == 0
    found.end[one_sided], found.beyond[one_sided], found.error[one_sided] = 0.0, -1, 0.0
    if lines.network.output_shape[0] > 1:
        found.label = classes[found.label]
        found.beyond = torch.where(found.beyond >= 0, classes[found.beyond.clamp_min(0)], -1)
    return found[0::2], found[1::2]


def competing_classes(lines: LineBatch, decision: Sequence[int] | None) -> Tensor:
    """The positions of the logits that compete, ``(k,)`` int64.

    Raises:
        ValueError: the network has no vector of logits, or decision does not name two or more of them.
    """
    shape = lines.network.output_shape
    if len(shape) != 1 or shape[0] == 0:
        raise ValueError(f"The model's output for one input has shape {shape}; a class needs a vector of logits.")
    if decision is None:
        return torch.arange(shape[0], device=lines.x.device)
    chosen = [int(position) for position in decision]
    if len(set(chosen)) != len(chosen) or len(chosen) < 2 or not all(0 <= position < shape[0] for position in chosen):
        raise ValueError(f"decision must name two or more different logits from 0 to {shape[0] - 1}, not {decision!r}.")
    return torch.tensor(sorted(chosen), device=lines.x.device)


def competing_logits(outputs: Tensor, classes: Tensor) -> Tensor:
    """The logits that decide, ``(P, k)``: a single output competes with 0."""
    if outputs.shape[1] == 1:
        return torch.cat([torch.zeros_like(outputs), outputs], 1)
    return outputs if len(classes) == outputs.shape[1] else outputs[:, classes]


def _record_exits(points: Points, logits: Tensor, error: Tensor, found: HalfLine) -> Tensor:
    """Note where segments first leave the class of x, and where rounding leaves that in doubt; gives these segments.

    Args:
        logits: that compete, ``(P, k)``.
        error: bound of the error of a difference of two logits beside each point, ``(P,)``.
    """
    label = found.label[points.segments]
    first, close = kernel_for(logits.device).exits(logits, points.offsets, label, error)
    gone = first < len(points)
    found.doubt[points.segments] |= points.uncertain | close
    if gone.any():
        _record_ends(points, logits, error, first[gone], label[gone], points.segments[gone], found)
    return points.segments[gone]


def _record_ends(
    points: Points, logits: Tensor, error: Tensor, row: Tensor, label: Tensor, numbers: Tensor, found: HalfLine
) -> None:
    """Note where a rival of the label overtakes it, between the points before ``row`` and at it."""
    column = label[:, None]
    before, at = (
        (logits[rows].gather(1, column) - logits[rows]).scatter(1, column, torch.inf) for rows in (row - 1, row)
    )
    here, there = before.clamp_min(0), -at
    # here / there grows with the place of the crossing, and does not round to 1 for all who come late.
    lateness = torch.where(there > 0, here / there, torch.inf)
    soonest = (lateness == lateness.amin(1, keepdim=True)) & (there > 0)
    winner = logits[row].masked_fill(~soonest, -torch.inf).argmax(1)
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
    found.beyond[numbers] = winner


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
