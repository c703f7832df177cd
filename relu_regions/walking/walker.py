"""walk(): every breakpoint of a batch of segments, collected from a sweep and settled where rounding leaves doubt."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from relu_regions.exactness.can_tie import can_tie
from relu_regions.exactness.effort import Effort
from relu_regions.exactness.error_bounds import Certainty
from relu_regions.exactness.meeting_points import meeting_points
from relu_regions.exactness.resolving import Resolve, may_settle
from relu_regions.exactness.stages import warn_of_doubt
from relu_regions.lines.line_batch import Array, Breakpoints, LineBatch, Model, Range, check_breakpoints, spread
from relu_regions.lines.progress import Progress
from relu_regions.paths.paths import Paths
from relu_regions.walking.collect import Collected
from relu_regions.walking.judging import with_confirmed
from relu_regions.walking.segments import Segments
from relu_regions.walking.settle import (
    Settled,
    left_open,
    rounding_of,
    settle,
    worth_settling,
)
from relu_regions.walking.single_precision import in_float32, with_lines
from relu_regions.walking.splicing import Splice, with_rows
from relu_regions.walking.sweep import Sweep

__all__ = ["collected", "walk"]


def walk(
    model: Model,
    x: Float[Array, " N *shape"],
    d: Float[Array, " ..."],
    t_range: Range = (-1.0, 2.0),
    *,
    breakpoints: Breakpoints = "pattern",
    dtype: torch.dtype = torch.float64,
    resolve: Resolve = "auto",
    resolve_seconds: float | None = None,
    memory_budget: int | None = None,
    progress: bool | None = None,
) -> Paths:
    """Every breakpoint of the network along ``x + t d``, found without sampling.

    Args:
        model: a torch.nn.Module in eval mode, an exported program, or a Network; not modified.
        x: points, ``(N, *input_shape)``, tensor or array of floats.
        d: directions, broadcastable to x, none of them zero.
        t_range: lower and upper end of t, numbers or ``(N,)`` each, around 0; may be infinite.
        breakpoints: which ones. "pattern": wherever a unit of the model changes its piece. "function": a maximum and
            the increasing activation before it or behind it, such as ReLU and max pooling, are one gate, and what one
            of the two hides of the other is left out. ``Paths.network`` then has the fused gates, and flips and
            patterns are theirs: piece 0 of a gate with a floor is the floor, which no input wins, and piece k is the
            input k - 1 of the window.
        dtype: of the walk, float64 or float32. What is proven is about the model, x, d and range as given: segments
            that float32 leaves in doubt, or whose numbers it does not hold, are walked in float64, and rounded.
        resolve: what to do about segments on which the walk's bounds leave open whether rounding decided something.
            "auto" evaluates the network anew at their breakpoints, with a bound for each unit, which proves most of
            them, and walks the others again in rational arithmetic where that takes seconds. "always" does so however
            long it takes, "never" computes no bounds. ``Paths.certain`` says what is proven, ``decided_by`` by what.
        resolve_seconds: how long all of that may take after the walk itself; by default, with "auto", more digits may
            take 60 seconds, or 12 times as long as the walk, and rational arithmetic 60 seconds. What was begun in time
            is finished. `UnprovenWarning` says how many lines are left.
        memory_budget: bytes that the walk may take besides its result; a quarter of the free memory by default.
        progress: whether to show a progress bar for each stage; by default where a person is looking and it takes long.

    Returns:
        Paths: on x's device.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be walked; the text says why.
    """
    check_breakpoints(breakpoints)
    lines = LineBatch.of(model, x, d, t_range, dtype, proven=may_settle(resolve))
    if breakpoints == "function":
        lines = lines.fused()
    asked = _Asked(resolve, Effort(resolve, resolve_seconds, progress, memory_budget))
    with torch.no_grad():
        paths = _proven(lines, asked) if lines.given is None else _proven_in_float32(lines, lines.given, asked)
    if may_settle(resolve):
        warn_of_doubt(*left_open(paths.certain, paths.region_counts, resolve, paths.network), asked.effort, "lines")
    return paths


class _Asked(NamedTuple):
    """What walk was asked besides the lines."""

    resolve: Resolve
    effort: Effort


def _proven(lines: LineBatch, asked: _Asked) -> Paths:
    """The paths of a batch, walked in its own dtype, those in doubt proven as far as ``resolve`` allows it."""
    certainty = Certainty.of(lines.network, lines.x.dtype) if may_settle(asked.resolve) else None
    paths = _walked(lines, certainty, asked)
    if certainty is None:
        return paths
    paths = with_confirmed(lines, paths, asked.effort)
    doubtful = worth_settling(~paths.certain, paths.region_counts, asked.resolve, lines.network)
    if not doubtful:
        return paths
    with asked.effort.stage("rational", len(doubtful)) as stage:
        settled = settle(lines, doubtful, stage.reach)
    return with_settled(paths, doubtful[: len(settled)], settled) if settled else paths


def _proven_in_float32(lines: LineBatch, given: LineBatch, asked: _Asked) -> Paths:
    """The paths of a batch in float32: what is in doubt there is walked in float64.

    All of it is where float32 does not hold the numbers that were given, since bounds would be about other ones.
    """
    if not lines.is_as_given:
        return in_float32(_proven(replace(given, original=lines.original), asked), lines)
    paths = _walked(lines, Certainty.of(lines.network, torch.float32), asked)
    doubt = (~paths.certain).nonzero()[:, 0]
    if not len(doubt):
        return paths
    return with_lines(paths, doubt.tolist(), in_float32(_proven(given.only(doubt), asked), lines.only(doubt)))


def _walked(lines: LineBatch, certainty: Certainty | None, asked: _Asked) -> Paths:
    """The paths as a sweep finds them, compared with the model."""
    with asked.effort.walk():
        paths = collected(lines, certainty, asked.effort.memory_budget, asked.effort.progress)
    if lines.original is not None:
        lines.compare(*_inside_regions(paths))
    return paths


def collected(
    lines: LineBatch, certainty: Certainty | None, memory_budget: int | None = None, progress: bool | None = False
) -> Paths:
    """The paths of a batch as a sweep finds them, with nothing settled.

    Args:
        certainty: bounds to carry along; None to do without.
    """
    starts = torch.stack([lines.low, lines.low.clamp(0, 0), lines.high], 1).to(lines.x.dtype)
    segments = Segments(lines.x, lines.d, starts)
    if certainty is not None and can_tie(lines.network):
        segments = segments.with_ties(meeting_points(lines.network, lines.x, lines.d))
    sweep = Sweep(lines.network, segments, True, memory_budget, certainty=certainty)
    found = Collected(lines)
    with sweep.surroundings(), Progress(len(lines), "walk", progress) as bar:
        for points in sweep:
            # Segments before this one are complete.
            bar.reach(int(points.segments[0]))
            found.add(points, sweep.halfway)
        bar.reach(len(lines))
        return found.paths()


def _inside_regions(paths: Paths) -> tuple[Tensor, Tensor]:
    """Some points of the answer, most of them inside of regions: numbers of segments, and t."""
    rows = spread(paths.region_rows, 32)
    weight = paths.weight if paths.weight is not None else torch.ones_like(paths.position)
    # In homogeneous coordinates what lies between an end at infinity and its neighbour is a finite t.
    position, weight = (part[rows] + part[rows + 1] for part in (paths.position, weight))
    return torch.bucketize(rows, paths.offsets[1:], right=True), position / weight


def with_settled(paths: Paths, numbers: list[int], settled: list[Settled]) -> Paths:
    """The paths with some segments replaced by what rational arithmetic says of them."""
    splice = Splice.of(paths.offsets, numbers, [len(s.position) for s in settled])
    t_error = [torch.where(s.weight == 0, 0.0, rounding_of(s.position)) for s in settled]
    first = zip(paths.first_patterns, zip(*(s.first for s in settled)))
    return replace(
        paths,
        offsets=splice.offsets,
        position=splice.points(paths.position, [s.position for s in settled]),
        weight=None if paths.weight is None else splice.points(paths.weight, [s.weight for s in settled]),
        values=splice.points(paths.values, [s.values for s in settled]),
        outputs_at_x=with_rows(paths.outputs_at_x, numbers, torch.stack([s.at_x for s in settled])),
        first_patterns=tuple(with_rows(old, numbers, torch.stack(new)) for old, new in first),
        flips=splice.flips(paths.flips, [s.flips for s in settled]),
        t_error=None if paths.t_error is None else splice.points(paths.t_error, t_error),
        certain=with_rows(paths.certain, numbers, True),
        settled=with_rows(paths.settled, numbers, True),
    )
