"""The three kinds of gate: elementwise knots, the maximum of several inputs, and their order statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

__all__ = ["Gate", "Knots", "Maximum", "OrderStatistic", "Selection", "flattened"]

S = TypeVar("S", bound="Selection")


def flattened(values: Tensor) -> Tensor:
    """A stack ``(points, *shape)`` as ``(points, numbers)``, also where each point has a single number or none."""
    return values.flatten(1) if values.ndim > 1 else values[:, None]


class GateSizes(NamedTuple):
    """The largest absolute numbers of a gate, over its units.

    Attributes:
        slope: of the output by an input that leads there.
        turn: the changes of slope from piece to piece, all of them together, as a multiple of the largest slope of an
            input.
        knot, offset: of the gate itself.
    """

    slope: float
    turn: float
    knot: float
    offset: float


@dataclass(frozen=True)
class Knots:
    """An elementwise, continuous, piecewise-linear function with finitely many knots.

    Piece ``p`` of a unit is the range between its knots ``p - 1`` and ``p``; on it the function is
    ``slopes[p] * z + offsets[p]``. A unit that sits exactly on a knot counts as being on the piece below it
    (a ReLU at 0 is inactive).

    Attributes:
        knots: ``(m, 1)`` or ``(m, units)``, increasing along the first dimension.
        slopes: ``(m + 1, 1)`` or ``(m + 1, units)``.
        offsets: ``(m + 1, 1)`` or ``(m + 1, units)``.
    """

    knots: Tensor
    slopes: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, knots: list[float], slopes: list[float], offsets: list[float]) -> Knots:
        """The same function for every unit, from plain numbers."""
        columns = (torch.tensor(numbers, dtype=torch.float64).view(-1, 1) for numbers in (knots, slopes, offsets))
        return cls(*columns)

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Knots, slopes and offsets."""
        return self.knots, self.slopes, self.offsets

    @property
    def piece_count(self) -> int:
        """The number of pieces of a unit."""
        return self.slopes.shape[0]

    @cached_property
    def is_relu(self) -> bool:
        """Whether this is max(z, 0) for every unit: the gate worth a path of its own."""
        return bool(
            self.slopes.shape == (2, 1)
            and self.knots[0, 0] == 0
            and self.slopes[0, 0] == 0
            and self.slopes[1, 0] == 1
            and not self.offsets.any()
        )

    @cached_property
    def exact_zeros(self) -> Tensor:
        """Whether a computed output of 0 is a true 0 if the input's sign is certain; ``(1,)`` or ``(units,)`` bool.

        So it is if no piece passes through 0 between its knots, nor shrinks a number towards it.
        """
        below = torch.nn.functional.pad(self.knots, (0, 0, 1, 0), value=-torch.inf)
        above = torch.nn.functional.pad(self.knots, (0, 0, 0, 1), value=torch.inf)
        beside = (self.offsets == 0) & (self.slopes.abs() == 1) & ((above <= 0) | (below >= 0))
        return ((self.slopes == 0) | beside).all(0)

    @cached_property
    def sizes(self) -> GateSizes:
        """The largest numbers of the gate, which error bounds need."""
        turns = self.slopes.diff(dim=0).abs().sum(0)
        parts = (self.slopes, turns, self.knots, self.offsets)
        return GateSizes(*(float(part.abs().max()) if part.numel() else 0.0 for part in parts))

    def to(self, dtype: torch.dtype, device: torch.device) -> Knots:
        """The same gate with its numbers in another dtype or on another device; itself where they are so already."""
        if all(
            numbers.dtype == dtype and numbers.device == device for numbers in (self.knots, self.slopes, self.offsets)
        ):
            return self
        return Knots(*(numbers.to(device, dtype) for numbers in (self.knots, self.slopes, self.offsets)))

    def apply(self, values: Tensor, weight: Tensor | None = None) -> Tensor:
        """The gate's output for a stack of points.

        Args:
            values: pre-activations, ``(points, units)``.
            weight: homogeneous coordinate of each point, ``(points, 1)``; None where all are 1.
        """
        if self.is_relu:
            return values.clamp_min(0)
        knots = self.knots if weight is None else self.knots.unsqueeze(1) * weight
        offsets = self.offsets if weight is None else self.offsets.unsqueeze(1) * weight
        output = self.slopes[0] * values + offsets[0]
        for piece in range(1, self.piece_count):
            above = values > knots[piece - 1]
            output = torch.where(above, self.slopes[piece] * values + offsets[piece], output)
        return output

    def put_on_knots(
        self,
        rows: Tensor,
        units: Tensor,
        before: Tensor,
        after: Tensor,
        outputs: Tensor,
        weight: Tensor | None,
    ) -> None:
        """Put units that cross a knot onto it exactly, whatever rounding made of them.

        Args:
            rows, units, before, after: the crossings, ``(K,)`` int64.
            outputs: of the gate, ``(points, units)``, changed in place.
            weight: homogeneous coordinate of each point, ``(points,)``; None where all are 1.
        """
        knots = torch.maximum(before, after) - 1
        column = units if self.knots.shape[1] > 1 else torch.zeros_like(units)
        knot, slope, offset = (
            self.knots[knots, column],
            self.slopes[knots, column],
            self.offsets[knots, column],
        )
        outputs[rows, units] = slope * knot + offset if weight is None else (slope * knot + offset) * weight[rows]

    def workspace(self, units: int) -> int:
        """Numbers for each point that finding bends and applying the gate takes at its peak."""
        return 4 * units


@dataclass(frozen=True)
class Selection:
    """Gates that pass on one of several inputs, chosen by size: what Maximum and OrderStatistic have in common.

    A unit's piece is the position, within its window, of the input that it is; of several inputs that are equal on a
    whole interval, the first.

    Attributes:
        windows: ``(units, k)`` int64, positions in the flattened input.
    """

    windows: Tensor

    @property
    def piece_count(self) -> int:
        """The number of pieces of a unit."""
        return self.windows.shape[1]

    def to(self: S, dtype: torch.dtype, device: torch.device) -> S:
        """The same gate on another device (it holds no number that a dtype could change)."""
        return self if self.windows.device == device else replace(self, windows=self.windows.to(device))

    def put_on_knots(
        self,
        rows: Tensor,
        units: Tensor,
        before: Tensor,
        after: Tensor,
        outputs: Tensor,
        weight: Tensor | None,
    ) -> None:
        """Nothing: what is chosen of interpolated inputs is the interpolated output already."""

    def candidates(self, values: Tensor) -> Tensor:
        """The inputs of every unit: ``(points, inputs)`` to ``(points, units, k)``."""
        return values[:, self.windows]


@dataclass(frozen=True)
class Maximum(Selection):
    """Each unit is the largest of several inputs.

    Attributes:
        windows: ``(units, k)`` int64, positions in the flattened input. A window shorter than k repeats its
            first input, which changes nothing.
    """

    @cached_property
    def by_position(self) -> Tensor:
        """The windows once more, a row for each position, ``(k, units)`` int32, contiguous."""
        return self.windows.T.to(torch.int32).contiguous()

    @cached_property
    def filled_up(self) -> Tensor:
        """The units with short windows, ``(U,)`` int64."""
        return (self.windows[:, 1:] == self.windows[:, :1]).any(1).nonzero()[:, 0]

    @property
    def sizes(self) -> GateSizes:
        """The largest numbers of the gate: the slope only grows, from that of one input to that of another."""
        return GateSizes(slope=1.0, turn=2.0, knot=0.0, offset=0.0)

    def workspace(self, units: int) -> int:
        """Numbers for each point that finding bends and applying the gate takes at its peak."""
        return 4 * self.windows.numel()

    def apply(self, values: Tensor, weight: Tensor | None = None) -> Tensor:
        """The gate's output for a stack of points: ``(points, inputs)`` to ``(points, units)``."""
        return self.candidates(values).amax(-1)

    def pieces_beside(self, values: Tensor, beyond: Tensor) -> Tensor:
        """The piece of every unit just beside points, towards others: ``(P, inputs)`` each, to ``(P, units)`` int64."""
        values, beyond = self.candidates(values), self.candidates(beyond)
        largest = values == values.amax(-1, keepdim=True)
        return beyond.masked_fill(~largest, -torch.inf).argmax(-1)


@dataclass(frozen=True)
class OrderStatistic(Selection):
    """Each unit is the input of one rank among several: what sorting, top-k values and medians are made of.

    It bends where the number of that rank becomes another input, and nowhere else: not where two inputs pass each other
    that are both larger, or both smaller. Maxima and minima of some of the inputs, of which it could be made too, would
    bend at all of these.

    Attributes:
        windows: ``(units, k)`` int64, positions in the flattened input, each once in a window.
        ranks: ``(units,)`` int64, how many numbers of its window, in falling order, come before a unit's.
    """

    ranks: Tensor

    @property
    def sizes(self) -> GateSizes:
        """The largest numbers of the gate: two inputs change places once, which turns the output by two slopes."""
        return GateSizes(slope=1.0, turn=float(self.piece_count * (self.piece_count - 1)), knot=0.0, offset=0.0)

    def to(self, dtype: torch.dtype, device: torch.device) -> OrderStatistic:
        """The same gate on another device (it holds no number that a dtype could change)."""
        if self.windows.device == device:
            return self
        return replace(self, windows=self.windows.to(device), ranks=self.ranks.to(device))

    def workspace(self, units: int) -> int:
        """Numbers for each point that finding bends and applying the gate takes at its peak."""
        return 8 * self.windows.numel()

    def apply(self, values: Tensor, weight: Tensor | None = None) -> Tensor:
        """The gate's output for a stack of points: ``(points, inputs)`` to ``(points, units)``."""
        windows, window = self.different_windows
        return values[:, windows].sort(-1, descending=True).values[:, window, self.ranks]

    def pieces_beside(self, values: Tensor, beyond: Tensor) -> Tensor:
        """The piece of every unit just beside points, towards others: ``(P, inputs)`` each, to ``(P, units)`` int64."""
        level, candidates = self.apply(values).unsqueeze(-1), self.candidates(values)
        has_rank = candidates == level
        piece = has_rank.to(torch.uint8).argmax(-1)
        row, unit = (has_rank.sum(-1) > 1).nonzero(as_tuple=True)
        if len(row):
            # Of those that are equal there, the one that takes the rank's place among them beyond.
            tied = has_rank[row, unit]
            place = self.ranks[unit] - (candidates[row, unit] > level[row, unit]).sum(-1)
            beyond = beyond[row[:, None], self.windows[unit]].masked_fill(~tied, -torch.inf)
            reached = beyond.sort(-1, descending=True).values.gather(-1, place[:, None])
            piece[row, unit] = (tied & (beyond == reached)).to(torch.uint8).argmax(-1)
        return piece

    @cached_property
    def two_norm(self) -> float:
        """By how much the 2-norm of a change of the inputs grows at most.

        Sorting makes no change longer. But a window may have a unit for one rank more than once, and share inputs.
        """
        windows, window = self.different_windows
        pairs, counts = torch.unique(torch.stack([window, self.ranks]), dim=1, return_counts=True)
        repeats = counts.new_zeros(len(windows)).scatter_reduce(0, pairs[0], counts, "amax")
        uses = torch.bincount(windows.flatten(), repeats.repeat_interleave(windows.shape[1]).double())
        return math.sqrt(float(uses.max())) if len(uses) else 0.0

    @cached_property
    def different_windows(self) -> tuple[Tensor, Tensor]:
        """The windows, each once, so that it is sorted once; and the number of each unit's among them."""
        windows, window = torch.unique(self.windows, dim=0, return_inverse=True)
        return windows, window


Gate = Knots | Maximum | OrderStatistic
