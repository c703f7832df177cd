"""Claims: what a walk says of some lines, for the judge to decide."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Claims"]


@dataclass(frozen=True)
class Claims:
    """Lines ``x + t d``, their breakpoints in order, and what is said to happen there.

    Attributes:
        x, d: ``(N, *input_shape)`` float64.
        low, high: ``(N,)`` float64, the ends of each line's range; may be infinite.
        offsets: ``(N + 1,)`` int64; line i has the breakpoints ``offsets[i]`` to ``offsets[i + 1]``.
        t: ``(K,)`` float64, the breakpoints without the ends of the ranges.
        first_patterns: for each gate ``(N, units)`` int64, the pieces in each line's first region.
        point, gate, unit, before, after: the flips, ``(F,)`` int64 each, in order of ``point``, the breakpoint.
    """

    x: Tensor
    d: Tensor
    low: Tensor
    high: Tensor
    offsets: Tensor
    t: Tensor
    first_patterns: tuple[Tensor, ...]
    point: Tensor
    gate: Tensor
    unit: Tensor
    before: Tensor
    after: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def only(self, lines: Tensor) -> Claims:
        """Those about some lines, ``(K,)`` int64 in increasing order."""
        counts = self.offsets.diff()
        chosen = torch.zeros_like(counts, dtype=torch.bool)
        chosen[lines] = True
        points = chosen.repeat_interleave(counts)
        flips = points[self.point]
        parts = (self.point, self.gate, self.unit, self.before, self.after)
        point, gate, unit, before, after = (part[flips] for part in parts)
        return Claims(
            x=self.x[lines],
            d=self.d[lines],
            low=self.low[lines],
            high=self.high[lines],
            offsets=torch.nn.functional.pad(counts[lines].cumsum(0), (1, 0)),
            t=self.t[points],
            first_patterns=tuple(pieces[lines] for pieces in self.first_patterns),
            point=(points.cumsum(0) - 1)[point],
            gate=gate,
            unit=unit,
            before=before,
            after=after,
        )
