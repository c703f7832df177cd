"""A stretch of one line on its way through a network, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from relu_regions.exactness.rational.arithmetic import Point, dyadic
from relu_regions.exactness.rational.bends import Bent, bend
from relu_regions.exactness.rational.coefficients import (
    ExactAffine,
    ExactKnots,
    ExactMaximum,
    ExactNetwork,
    ExactOrderStatistic,
)
from relu_regions.exactness.rational.functions import Functions, apply_affine

__all__ = ["Flip", "Stretch", "on_line"]


class Flip(NamedTuple):
    """A unit that changes its piece at a breakpoint: number of its gate, and number of the unit in it."""

    gate: int
    unit: int
    before: int
    after: int


@dataclass(frozen=True)
class Stretch:
    """The part of a line between low and high, taken through the first steps of a network.

    Attributes:
        low, high: its ends.
        points: the breakpoints found so far, in order.
        flips: for each of them, the units that change their piece there.
        first: for each gate passed, the pieces in the first region.
        values: the values that later steps need.
        step: the next step.
    """

    low: Point
    high: Point
    points: list[Point]
    flips: list[list[Flip]]
    first: list[list[int]]
    values: dict[str, Functions]
    step: int = 0

    @property
    def ends(self) -> list[Point]:
        """Both ends and the breakpoints in between: the ends of the regions."""
        return [self.low, *self.points, self.high]

    def through(self, network: ExactNetwork, window: int | None = None) -> Iterator[Stretch]:
        """Take the stretch to the network's end.

        Args:
            network: the network.
            window: how many regions go on together after the first gate that bends, doubling from part to part;
                None for all.

        Yields:
            The stretch; or its parts in order, each computed when it is asked for. Flips at their seams, and the
            patterns of later gates, are those of the part alone.
        """
        stretch = self
        while stretch.step < len(network.steps):
            stretch = stretch._next(network)
            if window is not None and len(stretch.points) >= window:
                for part in stretch._parts(window):
                    yield from part.through(network)
                return
        yield stretch

    def _next(self, network: ExactNetwork) -> Stretch:
        step, values = network.steps[self.step], dict(self.values)
        if isinstance(step, ExactAffine):
            values[step.output] = apply_affine(step, [values[name] for name in step.inputs])
            following = replace(self, values=values, step=self.step + 1)
        else:
            following = self._gate(step)
        for name in network.releases[self.step]:
            del following.values[name]
        return following

    def _gate(self, step: ExactKnots | ExactMaximum | ExactOrderStatistic) -> Stretch:
        bent = bend(step, self.values[step.input], self.low, self.high, self.points)
        gate = len(self.first)
        flips = [old + [Flip(gate, *change) for change in changes] for old, changes in zip(self.flips, bent.changes)]
        first = [*self.first, bent.first]
        if not bent.crossings:
            values = {**self.values, step.output: bent.output}
            return replace(self, flips=flips, first=first, values=values, step=self.step + 1)
        placed = _Placement.of(self.points, bent)
        count = len(placed.points)
        merged: list[list[Flip]] = [[] for _ in range(count)]
        for place, old in zip(placed.old, flips):
            merged[place] = old
        values = {name: value.with_points(placed.old, count) for name, value in self.values.items()}
        output = bent.output.with_points(placed.old, count)
        for place, crossing in zip(placed.new, bent.crossings):
            merged[place].append(Flip(gate, *crossing.change))
            if crossing.jump:
                output.jumps[place][crossing.change.unit] = crossing.jump
        values[step.output] = output
        return replace(self, points=placed.points, flips=merged, first=first, values=values, step=self.step + 1)

    def _parts(self, window: int) -> Iterator[Stretch]:
        start = 0
        while start <= len(self.points):
            stop = min(start + window - 1, len(self.points))
            yield replace(
                self,
                low=self.points[start - 1] if start else self.low,
                high=self.points[stop] if stop < len(self.points) else self.high,
                points=self.points[start:stop],
                flips=self.flips[start:stop],
                values={name: value.between(self.points, start, stop) for name, value in self.values.items()},
            )
            start, window = stop + 1, 2 * window


@dataclass(frozen=True)
class _Placement:
    """Old breakpoints and new ones in one order; equal ones are one."""

    points: list[Point]
    old: list[int]
    new: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, points: list[Point], bent: Bent) -> _Placement:
        every = [*points, *(crossing.point for crossing in bent.crossings)]
        order = sorted(range(len(every)), key=lambda index: every[index].order)
        places = [0] * len(every)
        merged: list[Point] = []
        for index in order:
            if not merged or merged[-1] != every[index]:
                merged.append(every[index])
            places[index] = len(merged) - 1
        return cls(merged, places[: len(points)], places[len(points) :])


def on_line(network: ExactNetwork, x: Tensor, d: Tensor, low: Point, high: Point) -> Stretch:
    """The line ``x + t d`` from low to high before the first step; x and d are one input each, in float64."""
    size = x.numel()
    integers, exponent = dyadic(np.concatenate([x.numpy().reshape(-1), d.numpy().reshape(-1)]))
    intercept, slope = (
        {position: number for position, number in enumerate(part) if number}
        for part in (integers[:size], integers[size:])
    )
    values = {network.network.input_name: Functions(size, exponent, intercept, slope, [])}
    return Stretch(low, high, [], [], [], values)
