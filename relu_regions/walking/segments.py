"""The lines of a batch, each as a segment or two that a sweep starts from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Segments", "Starts"]


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
    """

    x: Tensor
    d: Tensor
    line: Tensor
    position: Tensor
    along_d: Tensor
    weight: Tensor | None
    offsets: Tensor

    def of(self, at_x: Tensor, along: Tensor) -> Tensor:
        """A value at the points, ``(P, *shape)``, from that of an affine map at x and, without its bias, along d."""
        base, column = at_x.index_select(0, self.line), (-1, *[1] * (at_x.ndim - 1))
        if self.weight is not None:
            base = base.mul_(self.weight.view(column))
        return base.addcmul_(self.along_d.view(column), along.index_select(0, self.line))


@dataclass(frozen=True)
class Segments:
    """The lines ``x + t d`` of a batch, each with the points that its sweep starts from.

    Attributes:
        x, d: ``(L, *input_shape)``.
        starts: ``(N, k)`` values of t in increasing order, from k = 2; may be infinite at either end. Equal
            neighbours count once.
        both_ways: whether each line has two segments, one after the other: along d, and along -d.
    """

    x: Tensor
    d: Tensor
    starts: Tensor
    both_ways: bool = False

    def __len__(self) -> int:
        return self.starts.shape[0]

    @cached_property
    def _unbounded(self) -> bool:
        return bool(torch.isinf(self.starts).any())

    def starts_of(self, first: int, stop: int) -> Starts:
        """What the segments from one to another start from."""
        t = self.starts[first:stop]
        distinct = torch.nn.functional.pad(t[:, 1:] > t[:, :-1], (1, 0), value=True)
        segment, position = distinct.nonzero()[:, 0], t[distinct]
        weight: Tensor | None = None
        if self._unbounded:
            weight = torch.isfinite(position).to(position.dtype)
            position = torch.where(weight > 0, position, position.sign())
        lines, line, along_d = slice(first, stop), segment, position
        if self.both_ways:
            lines, number = slice(first // 2, (stop + 1) // 2), segment + first
            line, along_d = number // 2 - first // 2, torch.where(number % 2 == 0, position, -position)
        counts = distinct.sum(1)
        return Starts(
            x=self.x[lines],
            d=self.d[lines],
            line=line,
            position=position,
            along_d=along_d,
            weight=weight,
            offsets=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        )
