"""The generalization interval: how far along a line the class of x holds, exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from relu_regions.exactness.effort import Effort
from relu_regions.exactness.error_bounds import Certainty
from relu_regions.exactness.resolving import Heard, Resolve, may_settle, without_limit
from relu_regions.exactness.stages import counted, decided_by, warn_of_doubt
from relu_regions.intervals.deployed import as_deployed, refuse
from relu_regions.intervals.enclosures import Ends, enclose
from relu_regions.intervals.half_lines import HalfLine, half_lines
from relu_regions.intervals.judging import confirmed
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import Array, LineBatch, Model, Range
from relu_regions.lines.progress import Progress
from relu_regions.walking.settle import (
    left_open,
    settle_intervals,
    worth_settling,
)
from relu_regions.walking.splicing import with_rows

__all__ = ["Interval", "exact_interval"]


@dataclass(frozen=True)
class Interval:
    """Generalization intervals of N lines (paper, equation 6).

    Attributes:
        lo, hi: ``(N,)`` float64, ends of the largest interval of t around 0 on which the class of x has the largest
            logit; the range's end where that came first (so ±inf if the class never changes on an unbounded line).
            ±inf, too, where a class takes over beyond all floats: then it is in label_lo or label_hi.
        label: ``(N,)`` int64, the class at x.
        label_lo, label_hi: ``(N,)`` int64, the class just beyond each end; -1 where the range ends first.
        tied: ``(N,)`` bool, whether several classes share the largest logit at x. The class is then the first of
            them, and the interval may have length 0 on a side.
        lo_error, hi_error: ``(N,)`` float64, rigorous bounds of how far the ends are from the true ones; None if
            not requested.
        certain: ``(N,)`` bool, whether labels, ties and what ends the interval are proven to be those of the
            real-valued network; None for sampled intervals.
        settled: ``(N,)`` bool, the lines that rational arithmetic had to settle; None for sampled intervals.
        judged: ``(N,)`` bool, the lines that bounds left in doubt and the judge confirmed; None for sampled intervals.
        digits: ``(N,)`` bool, those of them that took more digits than float64 has; None for sampled intervals.
        lo_below, lo_above, hi_below, hi_above: ``(N,)`` float64, proven enclosures of the true ends, a few floats wide;
            None without ``certify``.
        float_signs, rational_signs: ``(N,)`` int64, how many signs of units were decided in floating point, and in
            rational arithmetic; None without ``certify``.
        deployed_lo, deployed_hi: ``(N,)`` float64, finite ends of an interval around 0, inside the exact one, on which
            every evaluation of the model as deployed gives the class of x; None without ``deployed``.
        deployed_certain: ``(N,)`` bool, whether that is proven at x itself; else both ends are 0 and say nothing.
    """

    lo: Float64[Tensor, " N"]
    hi: Float64[Tensor, " N"]
    label: Int64[Tensor, " N"]
    label_lo: Int64[Tensor, " N"]
    label_hi: Int64[Tensor, " N"]
    tied: Bool[Tensor, " N"]
    lo_error: Float64[Tensor, " N"] | None = None
    hi_error: Float64[Tensor, " N"] | None = None
    certain: Bool[Tensor, " N"] | None = None
    settled: Bool[Tensor, " N"] | None = None
    judged: Bool[Tensor, " N"] | None = None
    digits: Bool[Tensor, " N"] | None = None
    lo_below: Float64[Tensor, " N"] | None = None
    lo_above: Float64[Tensor, " N"] | None = None
    hi_below: Float64[Tensor, " N"] | None = None
    hi_above: Float64[Tensor, " N"] | None = None
    float_signs: Int64[Tensor, " N"] | None = None
    rational_signs: Int64[Tensor, " N"] | None = None
    deployed_lo: Float64[Tensor, " N"] | None = None
    deployed_hi: Float64[Tensor, " N"] | None = None
    deployed_certain: Bool[Tensor, " N"] | None = None

    @property
    def length(self) -> Float64[Tensor, " N"]:
        """``(N,)`` float64, ``hi - lo``."""
        return self.hi - self.lo

    @property
    def decided_by(self) -> list[str]:
        """What proved each line: "bounds" of the walk, the "judge" in float64 or with more "digits", "rational"
        arithmetic, or "nothing".
        """
        none = torch.zeros_like(self.tied)
        parts = (self.certain, self.judged, self.digits, self.settled)
        return decided_by(*(none if part is None else part for part in parts))

    def __len__(self) -> int:
        return len(self.lo)

    def __getitem__(self, chosen: Any) -> Interval:
        """Some of the intervals; one index gives a batch of one."""
        if isinstance(chosen, int):
            if not -len(self) <= chosen < len(self):
                raise IndexError(f"interval {chosen} of {len(self)}")
            chosen = slice(chosen, chosen + 1 or None)
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Interval(**{name: part[chosen] for name, part in parts.items() if part is not None})

    def __iter__(self) -> Iterator[Interval]:
        return (self[index] for index in range(len(self)))

    def numpy(self) -> dict[str, np.ndarray]:
        """The attributes as numpy arrays, by name, with the length."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)} | {"length": self.length}
        return {name: part.cpu().numpy() for name, part in parts.items() if part is not None}

    def to_dataframe(self) -> Any:
        """The attributes as a pandas DataFrame, a row for each line (needs pandas)."""
        import pandas

        return pandas.DataFrame(self.numpy())

    def __repr__(self) -> str:
        proven = f"; decided: {counted(self.decided_by)}" if self.lo_error is not None else ""
        if len(self) == 1:
            row = {name: column[0].item() for name, column in self.numpy().items()}
            tied = ", tied at x" if row["tied"] else ""
            return (
                f"Interval([{row['lo'] + 0.0:.6g}, {row['hi']:.6g}], class {row['label']}; "  # no −0
                f"beyond: {_beyond(row['label_lo'])} below, {_beyond(row['label_hi'])} above{tied}{proven})"
            )
        ends = self.length[torch.isfinite(self.length)]
        mean = f", mean length {ends.mean():.4g}" if len(ends) else ""
        return f"Interval({len(self)} lines, {len(ends)} of finite length{mean}{proven})"


def _beyond(label: int) -> str:
    return "end of range" if label < 0 else f"class {label}"


def exact_interval(
    model: Model,
    x: Float[Array, " N *shape"],
    d: Float[Array, " ..."],
    t_range: Range = (-math.inf, math.inf),
    *,
    decision: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float64,
    resolve: Resolve = "auto",
    resolve_seconds: float | None = None,
    certify: bool = False,
    deployed: torch.dtype | None = None,
    memory_budget: int | None = None,
    progress: bool | None = None,
) -> Interval:
    """How far along ``x + t d`` the class of x holds (paper, equation 6), found without sampling.

    Args:
        model: a torch.nn.Module in eval mode, an exported program, or a Network; not modified. With one output the
            class is 1 where it is positive and 0 elsewhere.
        x: points, ``(N, *input_shape)``, tensor or array of floats.
        d: directions, broadcastable to x, none of them zero.
        t_range: lower and upper end of t, numbers or ``(N,)`` each, around 0.
        decision: the classes that compete, two or more different ones; all by default.
        dtype: of the walk, float64 or float32. What is proven is about the model, x and d as given: lines that float32
            leaves in doubt, or whose numbers it does not hold, are walked in float64.
        resolve: what to do about lines on which rounding may have decided something; see ``relu_regions.walk``.
        resolve_seconds: how long all of that may take after the walk itself; by default, with "auto", more digits may
            take 60 seconds, or 12 times as long as the walk, and rational arithmetic 60 seconds. What was begun in time
            is finished. `UnprovenWarning` says how many lines are left.
        certify: prove every answer and enclose every end by a few neighbouring floats: lines in doubt are settled
            however long it takes, and ends are evaluated once more in twice the working precision.
        deployed: torch.float32, torch.float16 or torch.bfloat16: give an inner interval, too, on which every evaluation
            of the model in this type gives the class of x, whatever the order of summation, at x + t d rounded to it.
            Sums are in float32. See docs/exactness.md for what is excluded.
        memory_budget: bytes that the walk, and each chunk that the judge looks at, may take; a quarter of the free
            memory by default.
        progress: whether to show a progress bar for each stage; by default where a person is looking and it takes long.

    Returns:
        Interval: on x's device.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be walked; the text says why.
    """
    if certify and resolve == "never":
        raise ValueError('certify settles what is in doubt; resolve must not be "never".')
    if certify and resolve_seconds is not None:
        raise ValueError("certify settles what is in doubt however long it takes; leave out resolve_seconds.")
    lines = LineBatch.of(model, x, d, t_range, dtype, proven=may_settle(resolve)).fused()
    if certify:
        resolve = "always"
    if deployed is not None:
        refuse(lines.network, deployed)
    effort = Effort(resolve, resolve_seconds, progress, memory_budget)
    asked = _Asked(Decision.of(lines.network.output_shape, decision), resolve, effort, certify)
    with torch.no_grad():
        found, points = _proven(lines, asked) if lines.given is None else _proven_in_float32(lines, lines.given, asked)
    if lines.original is not None:
        lines.compare(*_ends_and_insides(found))
    if found.certain is not None and may_settle(resolve):
        warn_of_doubt(*left_open(found.certain, points, resolve, lines.network), effort, "lines")
    exact = lines.given or lines
    if deployed is not None:
        found = _deployed(found, exact, asked, deployed)
    return _enclosed(found, exact, asked, points) if certify else found


def _deployed(found: Interval, lines: LineBatch, asked: _Asked, dtype: torch.dtype) -> Interval:
    """The intervals with inner ones as deployed."""
    with torch.no_grad():
        progress = asked.effort.progress
        parts = as_deployed(
            lines, found.lo, found.hi, found.label, asked.decision, dtype, asked.effort.memory_budget, progress
        )
    return replace(found, deployed_lo=parts[0], deployed_hi=parts[1], deployed_certain=parts[2])


class _Asked(NamedTuple):
    """What exact_interval was asked besides the lines."""

    decision: Decision
    resolve: Resolve
    effort: Effort
    certify: bool

    def in_doubt(self, found: Interval) -> Tensor:
        """Which intervals are not proven, ``(N,)`` bool; to be certified, ends need a bound too."""
        assert found.certain is not None and found.lo_error is not None and found.hi_error is not None
        doubt = ~found.certain
        return doubt | ~torch.isfinite(found.lo_error + found.hi_error) if self.certify else doubt


def _proven(lines: LineBatch, asked: _Asked) -> tuple[Interval, Tensor]:
    """The intervals of a batch in its own dtype, those in doubt proven as far as ``resolve`` allows it.

    Returns:
        The intervals, and how many points the walk has looked at on each line, ``(N,)`` int64.
    """
    bounded = may_settle(asked.resolve)
    found, points = _walked(lines, asked, bounded)
    if bounded:
        found = _settled(_judged(found, lines, asked), lines, asked, points)
    return found, points


def _proven_in_float32(lines: LineBatch, given: LineBatch, asked: _Asked) -> tuple[Interval, Tensor]:
    """The same for a batch in float32: what is in doubt there is walked in float64.

    All of it is where float32 does not hold the numbers that were given, since bounds would be about other ones.
    """
    if not lines.is_as_given:
        return _proven(given, asked)
    found, points = _walked(lines, asked, True)
    doubt = asked.in_doubt(found).nonzero()[:, 0]
    if not len(doubt):
        return found, points
    others, more = _proven(given.only(doubt), asked)
    return _with_lines(found, doubt.tolist(), vars(others)), points.index_add(0, doubt, more)


def _walked(lines: LineBatch, asked: _Asked, bounded: bool) -> tuple[Interval, Tensor]:
    """The intervals as a sweep finds them, and how many points it looked at on each line."""
    certainty = Certainty.of(lines.network, lines.x.dtype) if bounded else None
    with asked.effort.walk(), Progress(len(lines), "exact_interval", asked.effort.progress) as bar:
        up, down = half_lines(lines, asked.decision, asked.effort.memory_budget, certainty, bar.reach)
    return _joined(up, down, bounded), up.points + down.points


def _with_lines(found: Interval, numbers: list[int], columns: Mapping[str, Tensor | None]) -> Interval:
    """The intervals with some attributes of some lines replaced."""
    changed = {n: with_rows(getattr(found, n), numbers, new) for n, new in columns.items() if new is not None}
    return replace(found, **changed)


def _joined(up: HalfLine, down: HalfLine, bounded: bool) -> Interval:
    """The intervals that lie between the ends of two half-lines each, along d and along -d.

    Args:
        bounded: whether rounding was bounded on the way.
    """
    doubt = up.doubt | down.doubt
    return Interval(
        lo=-down.end,
        hi=up.end,
        label=up.label,
        label_lo=down.beyond,
        label_hi=up.beyond,
        tied=up.tied,
        lo_error=down.error if bounded else None,
        hi_error=up.error if bounded else None,
        certain=~doubt if bounded else torch.zeros_like(doubt),
        settled=torch.zeros_like(doubt),
        judged=torch.zeros_like(doubt),
        digits=torch.zeros_like(doubt),
    )


def _judged(found: Interval, lines: LineBatch, asked: _Asked) -> Interval:
    """The intervals with those in doubt replaced that the judge confirms."""
    numbers = (asked.in_doubt(found) & (found.lo < found.hi)).nonzero()[:, 0]
    if not len(numbers):
        return found
    lo, hi = found.lo[numbers], found.hi[numbers]
    good, columns = confirmed(lines, numbers, lo, hi, asked.decision, asked.effort)
    rows = numbers[good].tolist()
    if not rows:
        return found
    columns |= {name: torch.full_like(good[good], name != "tied") for name in ("certain", "judged", "tied")}
    return _with_lines(found, rows, columns)


def _settled(found: Interval, lines: LineBatch, asked: _Asked, points: Tensor) -> Interval:
    """The intervals, those in doubt settled in rational arithmetic as far as ``resolve`` allows it.

    Args:
        points: how many points the walk has looked at on each line, ``(N,)`` int64.
    """
    numbers = worth_settling(asked.in_doubt(found), points, asked.resolve, lines.network)
    if not numbers:
        return found
    with asked.effort.stage("rational", len(numbers)) as stage:
        return _with_settled(found, lines, asked.decision, numbers, stage.reach)


def _with_settled(
    found: Interval, lines: LineBatch, decision: Decision, numbers: list[int], heard: Heard = without_limit
) -> Interval:
    """The intervals, those of some lines as rational arithmetic has them: of the first ones if time is up."""
    columns = settle_intervals(lines, numbers, decision, heard)
    columns |= {name: torch.ones_like(columns["tied"]) for name in ("certain", "settled")}
    return _with_lines(found, numbers[: len(columns["tied"])], columns)


def _ends_and_insides(found: Interval) -> tuple[Tensor, Tensor]:
    """Some points of the answer: numbers of lines, and t; where a line has no end, a finite t stands for it."""
    ends = torch.stack([found.lo, found.hi], 1).nan_to_num(posinf=10.0, neginf=-10.0)
    t = torch.cat([ends, ends / 2], 1)
    lines = torch.arange(len(t), device=t.device).unsqueeze(1).expand_as(t)
    return lines.reshape(-1), t.reshape(-1)


def _enclosed(found: Interval, lines: LineBatch, asked: _Asked, points: Tensor) -> Interval:
    """The intervals with proven enclosures of their ends, and counts of the signs that decided.

    Args:
        points: how many points the walk has looked at on each line, ``(N,)`` int64.
    """
    assert found.settled is not None
    network, settled = lines.network.to(torch.float64, "cpu"), found.settled
    signs = points * network.units
    parts = {"float_signs": torch.where(settled, 0, signs), "rational_signs": torch.where(settled, signs, 0)}
    for name in ("lo", "hi"):
        end, beyond, error = (getattr(found, part) for part in (name, f"label_{name}", f"{name}_error"))
        # What rational arithmetic has settled is the nearest float; an end of the range is what was given.
        below, above = (torch.nextafter(end, torch.full_like(end, side)) for side in (-torch.inf, torch.inf))
        below, above = torch.where(beyond < 0, end, below), torch.where(beyond < 0, end, above)
        rows = ((beyond >= 0) & ~settled).nonzero()[:, 0]
        upper = torch.full_like(rows, name == "hi", dtype=torch.bool)
        line = (lines.x[rows], lines.d[rows], end[rows], error[rows], found.label[rows], beyond[rows], upper)
        ends = Ends(*(part.double().cpu() if part.is_floating_point() else part.cpu() for part in line))
        with asked.effort.stage("enclose", len(rows)) as stage:
            enclosed = enclose(network, ends, asked.decision, stage.reach)
        low, high, rational = (part.to(end.device) for part in enclosed)
        if torch.isinf(high - low).any():
            # Exact arithmetic contradicts the walk there, so nothing that the walk says of these lines counts.
            numbers = rows[torch.isinf(high - low)].tolist()
            return _enclosed(_with_settled(found, lines, asked.decision, numbers), lines, asked, points)
        below[rows], above[rows] = low, high
        parts["float_signs"][rows] += torch.where(rational, 0, network.units)
        parts["rational_signs"][rows] += torch.where(rational, network.units, 0)
        middle = torch.where(torch.isinf(end), end, below + (above - below) / 2)
        parts |= {name: middle, f"{name}_below": below, f"{name}_above": above}
        parts[f"{name}_error"] = torch.where(beyond < 0, 0.0, above - below)
    return replace(found, **parts)
