"""The generalization interval: how far along a line the class of x holds, exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relu_regions.lines import Array, LineBatch, Model, Range
from relu_regions.points import Points
from relu_regions.sweep import Segments, Sweep

__all__ = ["Interval", "exact_interval"]


@dataclass(frozen=True)
class Interval:
    """Generalization intervals of N lines (paper, equation 6).

    Attributes:
        lo, hi: ``(N,)`` float64, ends of the largest interval of t around 0 on which the class of x has the largest
            logit; the range's end where that came first (so ±inf if the class never changes on an unbounded line).
        label: ``(N,)`` int64, the class at x.
        label_lo, label_hi: ``(N,)`` int64, the class just beyond each end; -1 where the range ends first.
        tied: ``(N,)`` bool, whether several classes share the largest logit at x. The class is then the first of
            them, and the interval may have length 0 on a side.
    """

    lo: Tensor
    hi: Tensor
    label: Tensor
    label_lo: Tensor
    label_hi: Tensor
    tied: Tensor

    @property
    def length(self) -> Tensor:
        """``(N,)`` float64, ``hi - lo``."""
        return self.hi - self.lo

    def __len__(self) -> int:
        return len(self.lo)

    def __getitem__(self, chosen: Any) -> Interval:
        """Some of the intervals; one index gives a batch of one."""
        if isinstance(chosen, int):
            if not -len(self) <= chosen < len(self):
                raise IndexError(f"interval {chosen} of {len(self)}")
            chosen = slice(chosen, chosen + 1 or None)
        return Interval(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def __iter__(self) -> Iterator[Interval]:
        return (self[index] for index in range(len(self)))

    def numpy(self) -> dict[str, np.ndarray]:
        """The attributes as numpy arrays, by name, with the length."""
        arrays = {field.name: getattr(self, field.name).cpu().numpy() for field in fields(self)}
        return {**arrays, "length": self.length.cpu().numpy()}

    def to_dataframe(self) -> Any:
        """The attributes as a pandas DataFrame, a row for each line (needs pandas)."""
        import pandas

        return pandas.DataFrame(self.numpy())

    def __repr__(self) -> str:
        if len(self) == 1:
            row = {name: column[0].item() for name, column in self.numpy().items()}
            tied = ", tied at x" if row["tied"] else ""
            return (
                f"Interval([{row['lo']:.6g}, {row['hi']:.6g}], class {row['label']}; "
                f"beyond: {_beyond(row['label_lo'])} below, {_beyond(row['label_hi'])} above{tied})"
            )
        ends = self.length[torch.isfinite(self.length)]
        mean = f", mean length {ends.mean():.4g}" if len(ends) else ""
        return f"Interval({len(self)} lines, {len(ends)} of finite length{mean})"


def _beyond(label: int) -> str:
    return "end of range" if label < 0 else f"class {label}"


def exact_interval(
    model: Model,
    x: Array,
    d: Array,
    t_range: Range = (-math.inf, math.inf),
    *,
    decision: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float64,
    memory_budget: int | None = None,
) -> Interval:
    """How far along ``x + t d`` the class of x holds (paper, equation 6), found without sampling.

    Args:
        model: a torch.nn.Module in eval mode, an exported program, or a Network; not modified. With one output the
            class is 1 where it is positive and 0 elsewhere.
        x: points, ``(N, *input_shape)``, tensor or array of floats.
        d: directions, broadcastable to x, none of them zero.
        t_range: lower and upper end of t, numbers or ``(N,)`` each, around 0.
        decision: the logits that compete, two or more different positions; all of them by default. Labels remain
            positions among all the logits.
        dtype: of the computation, float64 or float32.
        memory_budget: bytes that the walk may take; a quarter of the free memory by default.

    Returns:
        Interval: on x's device.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be walked; the text says why.
    """
    lines = LineBatch.of(model, x, d, t_range, dtype)
    classes = _competing(lines, decision)
    up = _outward(lines, lines.d, lines.high, classes, memory_budget)
    down = _outward(lines, -lines.d, -lines.low, classes, memory_budget)
    return Interval(-down.end, up.end, up.label, down.beyond, up.beyond, up.tied)


def _competing(lines: LineBatch, decision: Sequence[int] | None) -> Tensor:
    shape = lines.network.output_shape
    if len(shape) != 1 or shape[0] == 0:
        raise ValueError(f"The model's output for one input has shape {shape}; a class needs a vector of logits.")
    if decision is None:
        return torch.arange(shape[0], device=lines.x.device)
    chosen = [int(position) for position in decision]
    if len(set(chosen)) != len(chosen) or len(chosen) < 2 or not all(0 <= position < shape[0] for position in chosen):
        raise ValueError(f"decision must name two or more different logits from 0 to {shape[0] - 1}, not {decision!r}.")
    return torch.tensor(sorted(chosen), device=lines.x.device)


@dataclass
class _HalfLine:
    """What was found going from x in one direction."""

    end: Tensor
    label: Tensor
    beyond: Tensor
    tied: Tensor


def _outward(lines: LineBatch, direction: Tensor, end: Tensor, classes: Tensor, memory_budget: int | None) -> _HalfLine:
    """Follow half-lines from x until the label changes; each leaves the sweep there."""
    found = _HalfLine(
        end=end.clone(),
        label=torch.zeros(len(lines), dtype=torch.int64, device=end.device),
        beyond=torch.full((len(lines),), -1, dtype=torch.int64, device=end.device),
        tied=torch.zeros(len(lines), dtype=torch.bool, device=end.device),
    )
    starts = torch.stack([torch.zeros_like(end), end.clamp_min(torch.finfo(end.dtype).tiny)], 1).to(lines.x.dtype)
    reached = torch.zeros_like(found.tied)
    sweep = Sweep(lines.network, Segments(lines.x, direction, starts), False, memory_budget, window=16)
    with torch.no_grad():
        for points in sweep:
            logits = competing_logits(points.values[lines.network.output_name], classes)
            opening = points.segments[~reached[points.segments]]
            if len(opening):
                rows = points.offsets[:-1][~reached[points.segments]]
                found.label[opening] = logits[rows].argmax(1)
                found.tied[opening] = (logits[rows] == logits[rows].amax(1, keepdim=True)).sum(1) > 1
                reached[opening] = True
            sweep.drop(_record_exits(points, logits, found))
    one_sided = end == 0
    found.end[one_sided], found.beyond[one_sided] = 0.0, -1
    if lines.network.output_shape[0] > 1:
        found.label = classes[found.label]
        found.beyond = torch.where(found.beyond >= 0, classes[found.beyond.clamp_min(0)], -1)
    return found


def competing_logits(outputs: Tensor, classes: Tensor) -> Tensor:
    """The logits that decide, ``(P, k)``: a single output competes with 0."""
    if outputs.shape[1] == 1:
        return torch.cat([torch.zeros_like(outputs), outputs], 1)
    return outputs if len(classes) == outputs.shape[1] else outputs[:, classes]


def _record_exits(points: Points, logits: Tensor, found: _HalfLine) -> Tensor:
    """Note where segments first leave the class of x; gives these segments."""
    counts = points.offsets.diff()
    segment = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    own = logits.gather(1, found.label[points.segments][segment][:, None])
    lead = own - logits
    lost = (lead < 0).any(1).nonzero()[:, 0]
    if not len(lost):
        return points.segments[:0]
    # The first lost point of each segment: rows are in order, so writing them backwards leaves the first.
    first = torch.full_like(points.segments, -1)
    first[segment[lost].flip(0)] = lost.flip(0)
    gone = first >= 0
    row = first[gone]
    here, there = lead[row - 1].clamp_min(0), -lead[row]
    # here / there grows with the place of the crossing, and does not round to 1 for all who come late.
    lateness = torch.where(there > 0, here / there, torch.inf)
    soonest = (lateness == lateness.amin(1, keepdim=True)) & (there > 0)
    winner = logits[row].masked_fill(~soonest, -torch.inf).argmax(1)
    here, there = (side.gather(1, winner[:, None])[:, 0] for side in (here, there))
    left, right = there / (here + there), here / (here + there)
    numbers = points.segments[gone]
    found.end[numbers] = points.between(row - 1, left, right).double()
    found.beyond[numbers] = winner
    return numbers
